"""The steps of a verification, each a function of the case; `fedchest.audit.verify.STEPS` lists them."""
