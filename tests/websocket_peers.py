"""A WebSocket client and server of the library websockets, for tests/it/websocket_peers.rs.

server: listens, says where, and echoes until its input ends.
client URL [FILE]: over TLS with FILE, the certificate of site.test; messages of many sizes and kinds there and back, compressed and not, in parts, with
pings; then waits for the Close that the balancer is to send, and says its status.
"""

import asyncio
import ssl
import sys

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve


async def server():
    async def echo(connection):
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0, max_size=None) as listening:
        host, port = listening.sockets[0].getsockname()
        print(f"listening {host}:{port}", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def client(url, certificate=None):
    tls = {}
    if certificate:
        context = ssl.create_default_context(cafile=certificate)
        tls = {"ssl": context, "server_hostname": "site.test"}
    for compression in ("deflate", None):
        async with connect(url, compression=compression, max_size=None, **tls) as connection:
            for size in (0, 1, 125, 126, 65535, 65536, 3_000_000):
                for message in ("ä" * size, b"\x00\xff" * size):
                    await connection.send(message)
                    assert await connection.recv() == message, size
            await connection.send(["in ", "three ", "parts"])
            assert await connection.recv() == "in three parts"
            await (await connection.ping())
        assert connection.close_code == 1000, connection.close_code
    async with connect(url, **tls) as connection:
        await connection.send("open")
        assert await connection.recv() == "open"
        print("open", flush=True)
        try:
            await connection.recv()
        except websockets.ConnectionClosed as closed:
            print(f"closed {closed.rcvd.code}", flush=True)


if sys.argv[1] == "server":
    asyncio.run(server())
else:
    asyncio.run(client(*sys.argv[2:]))
