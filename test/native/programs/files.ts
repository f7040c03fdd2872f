// Cases of files and descriptors. Each is given an empty directory to work in.
import * as host from "holdfast:host";
import { attempt, command, openDescriptors, report } from "./report.ts";

const text = (value: string): Uint8Array => host.encodeUtf8(value);

function writeFile(path: string, content: string): void {
  const fd = host.open(path, host.O_WRONLY | host.O_CREAT | host.O_TRUNC, 0o640);
  report(host.write(fd, text(content)));
  host.close(fd);
}

export const fileCases = {
  systemErrors(directory: string): void {
    const missing = `${directory}/missing`;
    report(attempt(() => host.open(missing, host.O_RDONLY)));
    report(attempt(() => host.close(999)));
    report(attempt(() => host.readFile(missing, 10)));
    report(attempt(() => host.makeDirectory(directory, 0o700)));
    report(attempt(() => host.removeDirectory(missing)));
    report(attempt(() => host.unlink(missing)));
    report(attempt(() => host.rename(missing, directory)));
    report(attempt(() => host.listDirectory(missing)));
    report(attempt(() => host.open(`${directory}/${"x".repeat(300)}`, host.O_RDONLY)));
    report(openDescriptors());
  },
  readAndWrite(directory: string): void {
    const path = `${directory}/file`;
    writeFile(path, "hello");
    report(host.decodeUtf8(host.readFile(path, 5)));
    report(attempt(() => host.readFile(path, 4)));
    const fd = host.open(path, host.O_RDONLY);
    report(host.decodeUtf8(host.read(fd, 2) ?? text("")));
    report(host.decodeUtf8(host.read(fd, 100) ?? text("")));
    report(host.read(fd, 100)?.length ?? null);
    host.close(fd);
    writeFile(path, "");
    report(host.readFile(path, 0).length);
    report(host.decodeUtf8(host.readFile("/proc/self/comm", 100)).length > 0);
    report(openDescriptors());
  },
  stats(directory: string): void {
    writeFile(`${directory}/file`, "hello");
    host.makeDirectory(`${directory}/directory`, 0o750);
    command("mkfifo", "-m", "600", `${directory}/fifo`);
    command("ln", "-s", "file", `${directory}/symlink`);
    host.close(host.listen(`${directory}/socket`, 0o600));
    for (const kind of ["file", "directory", "fifo", "symlink", "socket"]) {
      const stat = host.statPath(`${directory}/${kind}`);
      report({ kind: stat?.kind, mode: stat?.mode, size: stat?.size, uid: stat?.uid });
    }
    report(host.statPath("/dev/null")?.kind);
    report([host.statPath(`${directory}/none`), host.statPath(`${directory}/file/none`)]);
    command("chmod", "4755", `${directory}/file`);
    command("chown", "12:34", `${directory}/file`);
    const fd = host.open(`${directory}/file`, host.O_RDONLY);
    const stat = host.statPath(`${directory}/file`);
    const named = (stat?.inode ?? 0) > 0 && (stat?.device ?? 0) > 0;
    report({ mode: stat?.mode, uid: stat?.uid, gid: stat?.gid, named });
    host.chownFd(fd, 56, -1);
    report(host.statPath(`${directory}/file`)?.uid);
    host.rename(`${directory}/file`, `${directory}/renamed`);
    host.unlink(`${directory}/fifo`);
    host.removeDirectory(`${directory}/directory`);
    report(host.listDirectory(directory).sort());
  },
  pipes(): void {
    const [readEnd, writeEnd] = host.pipe();
    report(host.read(readEnd, 10));
    report([host.readableBytes(readEnd), host.peerClosed(readEnd), host.peerClosed(writeEnd)]);
    const capacity = host.write(writeEnd, new Uint8Array(1 << 20));
    report([capacity >= 4096 && capacity < 1 << 20, host.readableBytes(readEnd) === capacity]);
    report(host.write(writeEnd, new Uint8Array(1)));
    host.close(writeEnd);
    report(host.peerClosed(readEnd));
    report([host.read(readEnd, 1 << 20)?.length === capacity, host.read(readEnd, 10)?.length]);
    host.close(readEnd);
    const [reader, writer] = host.pipe();
    host.close(reader);
    report(host.peerClosed(writer));
    report(attempt(() => host.write(writer, text("x"))));
    report(attempt(() => host.peerClosed(998)));
  },
  duplicates(): void {
    const [readEnd, writeEnd] = host.pipe();
    host.duplicateTo(writeEnd, 40);
    host.duplicateTo(40, 40);
    host.write(40, text("through the copy"));
    report(host.decodeUtf8(host.read(readEnd, 100) ?? text("")));
    host.setNonBlocking(readEnd, false);
    host.setNonBlocking(readEnd, true);
    report(host.read(readEnd, 1));
    report(attempt(() => host.duplicateTo(997, 41)));
  },
};
