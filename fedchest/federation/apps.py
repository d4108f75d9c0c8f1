"""The two Flower apps, by reference: the library starts them, it never imports their packages."""

from importlib import import_module

from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

CLIENT_MODULE, SERVER_MODULE = "clients.app", "server.app"


def client_app() -> ClientApp:
    """The hospital's app."""
    app: ClientApp = import_module(CLIENT_MODULE).app
    return app


def server_app() -> ServerApp:
    """The coordinator's app."""
    app: ServerApp = import_module(SERVER_MODULE).app
    return app
