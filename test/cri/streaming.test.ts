// kubectl exec, attach and port-forward: containerd's streaming server, on processes under our shim.
import assert from "node:assert/strict";
import { eventually } from "../harness/eventually.ts";
import { startNode } from "./node.ts";
import { ChannelSocket } from "./websocket.ts";

const PROTOCOL = "v4.channel.k8s.io";
const [STDIN, STDOUT, STDERR, ERROR, RESIZE] = [0, 1, 2, 3, 4];
const SLEEP = ["sleep", "1000000"];

const onNode = await startNode();

onNode("exec: output, errors, input to its end, and the status", async (k) => {
  const pod = await k.pod("exec");
  const id = await k.run(pod, "main", SLEEP);
  const cmd = ["sh", "-c", "read line; echo got $line; echo err >&2; exit 5"];
  const streams = { stdin: true, stdout: true, stderr: true, tty: false };
  const { url } = await k.cri.call<{ url: string }>("Exec", { containerId: id, cmd, ...streams });
  const socket = await ChannelSocket.open(url, PROTOCOL);
  socket.send(STDIN, "words\n");
  await socket.shows(ERROR, /ExitCode/);
  assert.deepEqual([socket.text(STDOUT), socket.text(STDERR)], ["got words\n", "err\n"]);
  assert.match(socket.text(ERROR), /NonZeroExitCode.*"5"/);
  socket.close();
  await k.remove(pod);
});

onNode("exec on a terminal: its size, its echo, its status", async (k) => {
  const pod = await k.pod("tty");
  const id = await k.run(pod, "main", SLEEP);
  const streams = { stdin: true, stdout: true, stderr: false, tty: true };
  const request = { containerId: id, cmd: ["sh"], ...streams };
  const { url } = await k.cri.call<{ url: string }>("Exec", request);
  const socket = await ChannelSocket.open(url, PROTOCOL);
  await socket.shows(STDOUT, /# /);
  socket.send(RESIZE, JSON.stringify({ Width: 77, Height: 33 }));
  await eventually("the terminal's new size", () => {
    socket.send(STDIN, "stty size\n");
    return /33 77/.test(socket.text(STDOUT));
  });
  socket.send(STDIN, "exit 6\n");
  await socket.shows(ERROR, /"6"/);
  socket.close();
  await k.remove(pod);
});

onNode("attach: what a running container says, and what is said to it", async (k) => {
  const pod = await k.pod("attach");
  const config = { stdin: true };
  const id = await k.run(pod, "echoes", ["sh", "-c", "while read line; do echo got $line; done"], { config });
  const streams = { stdin: true, stdout: true, stderr: true, tty: false };
  const { url } = await k.cri.call<{ url: string }>("Attach", { containerId: id, ...streams });
  const socket = await ChannelSocket.open(url, PROTOCOL);
  socket.send(STDIN, "one\n");
  await socket.shows(STDOUT, /got one/);
  socket.close();
  assert.equal((await k.status(id)).state, "CONTAINER_RUNNING");
  await eventually("the log to have it too", () => k.log("echoes").includes("got one"));
  await k.remove(pod);
});

onNode("port-forward reaches a server in the pod", async (k) => {
  const pod = await k.pod("forward");
  const port = 20_000 + (process.pid % 10_000);
  const server = ["sh", "-c", `echo served >/tmp/file; exec httpd -f -p 127.0.0.1:${port} -h /tmp`];
  await k.run(pod, "server", server);
  const request = { podSandboxId: pod.id, port: [port] };
  await eventually("an answer through the forwarded port", async () => {
    const { url } = await k.cri.call<{ url: string }>("PortForward", request);
    const socket = await ChannelSocket.open(url, PROTOCOL);
    socket.send(STDIN, "GET /file HTTP/1.0\r\n\r\n");
    // What comes first on the channel of data, and on that of errors, is the port's number.
    await eventually("an answer or an error", () => socket.bytes(0).length > 2 || socket.bytes(1).length > 2);
    socket.close();
    return socket.text(0).includes("served");
  });
  await k.remove(pod);
});
