"""HTTP over streams, by h11: each stream is what a TCP connection is to a web server.

python http_server.py UID BROKER
"""

import sys
from http import HTTPStatus

import h11
import trio

import trio_p2p

MAX_RECEIVE = 65_536


async def next_event(http: h11.Connection, stream: trio.abc.Stream) -> h11.Event:
    """Receive until there is a whole event."""
    while True:
        event = http.next_event()
        if isinstance(event, h11.Event):
            return event
        if event is h11.PAUSED:
            return h11.ConnectionClosed()
        http.receive_data(bytes(await stream.receive_some(MAX_RECEIVE)))


async def respond(http: h11.Connection, stream: trio.abc.Stream, text: str) -> None:
    body = text.encode()
    headers = [("content-type", "text/plain"), ("content-length", str(len(body)))]
    head = h11.Response(status_code=HTTPStatus.OK, headers=headers)
    for event in (head, h11.Data(data=body), h11.EndOfMessage()):
        await stream.send_all(http.send(event) or b"")


async def serve_http(stream: trio_p2p.P2PStream) -> None:
    """Answer requests until the client goes."""
    http = h11.Connection(h11.SERVER)
    text = ""
    try:
        while True:
            match await next_event(http, stream):
                case h11.Request(target=target):
                    text = f"{stream.peer_id} asked for {target.decode()}\n"
                case h11.EndOfMessage():
                    await respond(http, stream, text)
                    if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                        return
                    http.start_next_cycle()
                case h11.ConnectionClosed():
                    return
                case _:  # a piece of the request's body, which nothing here is made of
                    pass
    except h11.RemoteProtocolError as error:
        stream.abort(str(error))


uid, broker = sys.argv[1:]
trio.run(trio_p2p.serve_p2p, serve_http, uid, broker)
