"""The steps of a verification, each a function of the case, in its layer; `fedchest.audit.verify.LAYERS` lists them."""
