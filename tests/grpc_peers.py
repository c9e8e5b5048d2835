"""A gRPC server and a gRPC client, for tests of the balancer between them. Messages are bytes.

`server` prints `listening ADDRESS`, and then a line for each call that ends early. It ends with its
input. `client ADDRESS` makes calls of every kind, prints `ok NAME` for each that went well, and
ends with an error at the first that did not; `client ADDRESS FILE` over TLS, where FILE has the
certificate of `site.test`.
"""

import asyncio
import sys

import grpc

SIZES = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
STREAMS = 1000
CHANNELS = 10


async def echo(request, context):
    fields = dict(context.invocation_metadata())
    await context.send_initial_metadata((("x-initial", fields.get("x-client", "none")),))
    context.set_trailing_metadata((("x-length", str(len(request))), ("x-bin-bin", b"\x00\xff")))
    return request


async def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()


async def total(requests, context):
    return str(sum([len(request) async for request in requests])).encode()


async def chat(requests, context):
    async for request in requests:
        yield request


async def slow(request, context):
    left = context.time_remaining()
    print(f"deadline {left is not None and left < 60}", flush=True)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print("cancelled slow", flush=True)
        raise
    return b""


async def endless(request, context):
    try:
        while True:
            yield b"more"
            await asyncio.sleep(0.01)
    finally:
        print("cancelled endless", flush=True)


async def fail(request, context):
    context.set_trailing_metadata((("x-why", "because"),))
    await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such thing, \u00fcberhaupt")


async def late(request, context):
    yield b"one"
    await context.abort(grpc.StatusCode.DATA_LOSS, "after one")


async def serve():
    server = grpc.aio.server(options=SIZES)
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Total": grpc.stream_unary_rpc_method_handler(total),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Slow": grpc.unary_unary_rpc_method_handler(slow),
        "Endless": grpc.unary_stream_rpc_method_handler(endless),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Late": grpc.unary_stream_rpc_method_handler(late),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Cart", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening 127.0.0.1:{port}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(None)


def channel_to(address):
    options = [*SIZES, ("grpc.use_local_subchannel_pool", 1)]
    if len(sys.argv) < 4:
        return grpc.aio.insecure_channel(address, options=options)
    with open(sys.argv[3], "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    options.append(("grpc.ssl_target_name_override", "site.test"))
    return grpc.aio.secure_channel(address, credentials, options=options)


async def code_of(call):
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details()
    return grpc.StatusCode.OK, ""


async def unary(channel):
    method = channel.unary_unary("/shop.Cart/Echo")
    for size in (0, 1, 100, 70_000, 1 << 20, 16 << 20):
        message = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        call = method(message, metadata=(("x-client", "me"),), timeout=60)
        assert await call == message, size
        assert dict(await call.initial_metadata())["x-initial"] == "me"
        trailers = dict(await call.trailing_metadata())
        assert trailers["x-length"] == str(size), trailers
        assert trailers["x-bin-bin"] == b"\x00\xff", trailers


async def streams(channel):
    got = [message async for message in channel.unary_stream("/shop.Cart/Count")(b"1000", timeout=60)]
    assert got == [str(number).encode() for number in range(1000)]

    async def parts():
        for _ in range(1000):
            yield b"x" * 1000

    assert await channel.stream_unary("/shop.Cart/Total")(parts(), timeout=60) == b"1000000"
    call = channel.stream_stream("/shop.Cart/Chat")(timeout=60)
    for number in range(1000):
        # One after the other: neither direction waits for the end of the other.
        await call.write(str(number).encode())
        assert await call.read() == str(number).encode()
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() == grpc.StatusCode.OK


async def errors(channel):
    code, details = await code_of(channel.unary_unary("/shop.Cart/Fail")(b"", timeout=60))
    assert code == grpc.StatusCode.NOT_FOUND and details.endswith("\u00fcberhaupt"), (code, details)
    code, _ = await code_of(channel.unary_unary("/shop.Cart/Nothing")(b"", timeout=60))
    assert code == grpc.StatusCode.UNIMPLEMENTED, code
    call = channel.unary_stream("/shop.Cart/Late")(b"", timeout=60)
    assert await call.read() == b"one"
    assert (await code_of(call.read()))[0] == grpc.StatusCode.DATA_LOSS
    # No rule has it: the balancer answers.
    code, details = await code_of(channel.unary_unary("/other.Service/Method")(b"", timeout=60))
    assert code == grpc.StatusCode.UNIMPLEMENTED, (code, details)


async def cancellations(channel):
    code, _ = await code_of(channel.unary_unary("/shop.Cart/Slow")(b"", timeout=1))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED, code
    call = channel.unary_stream("/shop.Cart/Endless")(b"", timeout=60)
    for _ in range(10):
        assert await call.read() == b"more"
    call.cancel()


async def many(address):
    channels = [channel_to(address) for _ in range(CHANNELS)]
    calls = [
        channels[number % CHANNELS].stream_stream("/shop.Cart/Chat")(timeout=120)
        for number in range(STREAMS)
    ]

    async def talk(number, call):
        message = str(number).encode()
        await call.write(message)
        assert await call.read() == message

    # Each waits for all others: they are open at the same time.
    await asyncio.gather(*(talk(number, call) for number, call in enumerate(calls)))
    await asyncio.gather(*(talk(number + 1, call) for number, call in enumerate(calls)))

    async def end(call):
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK

    await asyncio.gather(*(end(call) for call in calls))
    for channel in channels:
        await channel.close()


async def ask(address):
    async with channel_to(address) as channel:
        for part in (unary, streams, errors, cancellations):
            await part(channel)
            print(f"ok {part.__name__}", flush=True)
    await many(address)
    print("ok many", flush=True)


if __name__ == "__main__":
    asyncio.run(serve() if sys.argv[1] == "server" else ask(sys.argv[2]))
