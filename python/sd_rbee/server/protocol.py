"""HTTP below the application: what is no HTTP at all is answered as every other error is."""

import uuid

import h11
import msgspec
from uvicorn.protocols.http.h11_impl import H11Protocol

from sd_rbee.server.errors import RequestError, to_wire


class HttpProtocol(H11Protocol):
    """uvicorn's own, but for the body of its one error."""

    def send_400_response(self, msg: str) -> None:
        """Answers bytes that are no HTTP, and closes the connection."""
        correlation_id = str(uuid.uuid4())
        wire = to_wire(RequestError(400, "INVALID_HTTP", "the request is not HTTP/1.1 as it should be"))
        body = msgspec.json.encode(wire.body(correlation_id))
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("x-correlation-id", correlation_id),
            ("x-content-type-options", "nosniff"),
            ("connection", "close"),
        ]
        try:
            for event in (
                h11.Response(status_code=wire.status, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:
            # An answer is under way already; its end is the connection's.
            pass
        self.transport.close()
