// Cases of unix sockets, passed descriptors and terminals. `helper` is test/native/helper.c, compiled.
import * as host from "holdfast:host";
import { attempt, command, openDescriptors, readNow, report } from "./report.ts";

const text = (value: string): Uint8Array => host.encodeUtf8(value);

/** Calls back with the next connection. */
function acceptOne(listener: number, connected: (fd: number) => void): void {
  host.watch(listener, host.READABLE, () => {
    const fd = host.accept(listener);
    if (fd < 0) return;
    host.unwatch(listener);
    connected(fd);
  });
}

export const socketCases = {
  listening(directory: string): void {
    const path = `${directory}/socket`;
    const before = openDescriptors();
    const listener = host.listen(path, 0o640);
    const stat = host.statPath(path);
    report([stat?.kind, stat?.mode]);
    host.close(host.listen(`${directory}/open`, 0o666));
    report(host.statPath(`${directory}/open`)?.mode);
    report(attempt(() => host.listen(path, 0o600)));
    report(attempt(() => host.connect(`${directory}/none`)));
    report(attempt(() => host.connect("")));
    report(attempt(() => host.listen(`${directory}/missing/socket`, 0o600)));
    report(attempt(() => host.listen(`/${"x".repeat(107)}`, 0o600)));
    report(attempt(() => host.connect(`/${"x".repeat(107)}`)));
    report(host.accept(listener));
    host.close(listener);
    report(attempt(() => host.connect(path)));
    report(openDescriptors() - before);
  },
  talking(directory: string): void {
    const listener = host.listen(`${directory}/socket`, 0o600);
    const client = host.connect(`${directory}/socket`);
    const server = host.accept(listener);
    const peer = host.peerCredentials(server);
    report({ pid: peer.pid === host.pid(), uid: peer.uid, gid: peer.gid });
    report(host.read(server, 10));
    report(host.send(client, text("0123456789"), 4));
    report(readNow(server));
    let filled = 0;
    const block = new Uint8Array(100000);
    for (let n = host.send(client, block, 0); n >= 0; n = host.send(client, block, 0)) filled += n;
    report({ filled: filled > 0, again: host.send(client, block, 0) });
    report(attempt(() => host.send(client, block, 100001)));
    report(host.send(client, new Uint8Array(0), 0));
    host.close(server);
    report(attempt(() => host.send(client, block, 0)));
    host.close(client);
    host.close(listener);
  },
  fullBacklog(directory: string): void {
    const listener = host.listen(`${directory}/socket`, 0o600);
    let connected = 0;
    let refused: unknown;
    for (; connected < 10000; connected++) {
      refused = attempt(() => void host.connect(`${directory}/socket`));
      if (refused !== null && JSON.stringify(refused).includes("threw")) break;
    }
    report({ some: connected > 0, refused });
    host.close(listener);
  },
  /** The helper sends descriptors of its own over a socket. */
  passing(directory: string, helper: string): void {
    const path = `${directory}/socket`;
    const listener = host.listen(path, 0o600);
    const { pidfd } = host.spawn({ argv: [helper, "pass", path], fds: [-1, 1, 2] });
    acceptOne(listener, (connection) => {
      host.watch(connection, host.READABLE, () => {
        const message = host.receiveDescriptors(connection, 100);
        if (message === null) return;
        if (message.bytes.length === 0) {
          host.unwatch(connection);
          host.unwatch(pidfd);
          report("closed");
          return;
        }
        report({
          text: host.decodeUtf8(message.bytes),
          fds: message.fds.length,
          now: host.receiveDescriptors(connection, 1),
        });
        for (const fd of message.fds) {
          report([readNow(fd), host.read(fd, 1)]); // non-blocking: null while its writer lives
          host.close(fd);
        }
        host.send(connection, text("next"), 0);
      });
    });
    host.watch(pidfd, host.READABLE, () => host.unwatch(pidfd));
  },
  /** A terminal as a runtime hands it over: bytes both ways, size, and its end when the last holder of the other side has gone. */
  terminal(directory: string, helper: string): void {
    const path = `${directory}/socket`;
    const listener = host.listen(path, 0o600);
    host.spawn({
      argv: [helper, "terminal", path, "sh", "-c", "stty size; read line; echo got $line; exit 3"],
      fds: [-1, -1, 2],
    });
    acceptOne(listener, (connection) => {
      host.watch(connection, host.READABLE, () => {
        const master = host.receiveDescriptors(connection, 10)?.fds[0];
        host.unwatch(connection);
        if (master === undefined) return report("no terminal came");
        host.resizeTerminal(master, 132, 43);
        const [outRead, outWrite] = host.pipe();
        const [inRead, inWrite] = host.pipe();
        let output = "";
        host.watch(outRead, host.READABLE, () => {
          output += readNow(outRead);
          if (output.includes("43 132\r\n") && !answered) host.write(inWrite, text("answer\n"));
          answered ||= output.includes("43 132\r\n");
        });
        let answered = false;
        host.startRelay(inRead, master, (why, code) => report(["input", why, code]));
        host.startRelay(master, outWrite, (why, code) => {
          output += readNow(outRead);
          host.unwatch(outRead);
          report(["output", why, code, output.replaceAll("\r", "")]);
          host.exit(0);
        });
        host.send(connection, text("go"), 0);
      });
    });
  },
  /** More than a terminal takes at once, for a program that reads late: what is left over each time is written from where it stopped. */
  slowTerminal(directory: string, helper: string, source: string): void {
    const path = `${directory}/socket`;
    const listener = host.listen(path, 0o600);
    command("mkfifo", `${directory}/go`);
    const script = `stty raw -echo; echo ready; read go <${directory}/go; exec head -c "$(stat -c %s ${source})" >${directory}/came`;
    const { pidfd } = host.spawn({ argv: [helper, "terminal", path, "sh", "-c", script], fds: [-1, -1, 2] });
    acceptOne(listener, (connection) => {
      host.watch(connection, host.READABLE, () => {
        const master = host.receiveDescriptors(connection, 10)?.fds[0];
        host.unwatch(connection);
        if (master === undefined) return report("no terminal came");
        host.send(connection, text("go"), 0);
        host.watch(master, host.READABLE, () => {
          host.unwatch(master);
          const input = host.open(source, host.O_RDONLY);
          const relay = host.startRelay(input, master, (why, code) => {
            report([why, code]);
            host.watch(pidfd, host.READABLE, () => host.exit(0));
          });
          const release = (): void => {
            if (!host.relayState(relay).blocked) return void host.setTimer(1, release);
            host.write(host.open(`${directory}/go`, host.O_WRONLY), text("go\n"));
          };
          release();
        });
      });
    });
  },
};
