// A WebSocket server and a client, both of the library ws. `server` echoes until its input ends;
// `client URL` talks to it through the balancer and says what happened.

import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { join } from "node:path";

const need = createRequire(join(process.env.LONGSHORE_BROWSER, "package.json"));
const { WebSocket, WebSocketServer } = need("ws");

// Compressed and not, beyond the lengths that a frame has in seven and in sixteen bits.
const SIZES = [0, 1, 125, 126, 65_535, 65_536, 1_048_576];

function serve() {
  const server = new WebSocketServer({
    host: "127.0.0.1",
    port: 0,
    perMessageDeflate: true,
    handleProtocols: (offered) => (offered.has("echo.v2") ? "echo.v2" : false),
  });
  server.on("listening", () => console.log(`listening 127.0.0.1:${server.address().port}`));
  server.on("connection", (socket, request) => {
    socket.on("message", (data, binary) => {
      if (!binary && data.toString() === "headers") {
        const { host, "x-forwarded-for": source } = request.headers;
        socket.send(JSON.stringify({ host, source }));
      } else if (!binary && data.toString() === "bye") {
        socket.close(4001, "as you wish");
      } else {
        socket.send(data, { binary });
      }
    });
  });
  process.stdin.resume();
  process.stdin.on("end", () => process.exit(0));
}

/** The next event of that kind. */
function next(socket, kind) {
  return new Promise((resolve) => socket.once(kind, (...values) => resolve(values)));
}

async function talk(url, perMessageDeflate) {
  const socket = new WebSocket(url, ["other", "echo.v2"], { perMessageDeflate });
  socket.on("error", (error) => {
    console.error(error);
    process.exit(1);
  });
  await next(socket, "open");
  const compressed = socket.extensions.includes("permessage-deflate");
  if (socket.protocol !== "echo.v2" || compressed !== perMessageDeflate) {
    throw new Error(`agreed on ${socket.protocol}, ${socket.extensions}`);
  }
  for (const size of SIZES) {
    for (const sent of [randomBytes(size), Buffer.alloc(size, "a")]) {
      const came = next(socket, "message");
      // In three frames, as somebody may who does not know how long a message will be.
      const third = Math.ceil(size / 3);
      socket.send(sent.subarray(0, third), { binary: true, fin: false });
      socket.send(sent.subarray(third, 2 * third), { binary: true, fin: false });
      socket.send(sent.subarray(2 * third), { binary: true, fin: true });
      const [got, binary] = await came;
      if (!binary || !sent.equals(got)) throw new Error(`${size} bytes came otherwise`);
    }
  }
  const pong = next(socket, "pong");
  socket.ping("still there?");
  if ((await pong)[0].toString() !== "still there?") throw new Error("another pong");
  const told = next(socket, "message");
  socket.send("headers");
  console.log((await told)[0].toString());
  const closed = next(socket, "close");
  socket.send("bye");
  const [code, reason] = await closed;
  console.log(`closed ${code} ${reason}`);
}

if (process.argv[2] === "server") {
  serve();
} else {
  await talk(process.argv[3], true);
  await talk(process.argv[3], false);
}
