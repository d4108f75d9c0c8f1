"""What runs inside a hospital: the Flower ClientApp and the wiring of one site."""

from fedchest.runtime import prepare

prepare()
