"""A media server that is late: what it is sent is done when the test says so, and the answer comes too late."""

import threading

from sfss.django.test_server import TestHttpServer


class LateServer(TestHttpServer):
    def __init__(self):
        super().__init__(port=0)
        self.is_late = False
        self.may_go_on = threading.Event()
        handler = self._server.RequestHandlerClass
        owner = self

        class Late(handler):
            def do_PUT(self):
                if owner.is_late:
                    owner.may_go_on.wait(20)
                super().do_PUT()

            def do_DELETE(self):
                if owner.is_late:
                    owner.may_go_on.wait(20)
                super().do_DELETE()

            def handle(self):
                try:
                    super().handle()
                except ConnectionError:
                    pass  # the client has given up

        self._server.RequestHandlerClass = Late
        self.run()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"
