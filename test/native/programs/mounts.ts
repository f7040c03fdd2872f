// Cases of mounts, run in a mount namespace of their own with an empty directory to work in.
import * as host from "holdfast:host";
import { attempt, command, openDescriptors, report } from "./report.ts";

const MS_RDONLY = 1;
const MS_BIND = 4096;

function writeFile(path: string, content: string): void {
  const fd = host.open(path, host.O_WRONLY | host.O_CREAT, 0o600);
  host.write(fd, host.encodeUtf8(content));
  host.close(fd);
}

const read = (path: string): string => host.decodeUtf8(host.readFile(path, 1000));

export const mountCases = {
  mounting(directory: string): void {
    const before = openDescriptors();
    for (const name of ["tmp", "bind"]) host.makeDirectory(`${directory}/${name}`, 0o755);
    host.mount("tmpfs", `${directory}/tmp`, "tmpfs", 0, "size=64k,mode=700");
    report(host.statPath(`${directory}/tmp`)?.mode);
    writeFile(`${directory}/tmp/file`, "content");
    host.mount(`${directory}/tmp`, `${directory}/bind`, "", MS_BIND, "");
    report(read(`${directory}/bind/file`));
    host.unmount(`${directory}/bind`, false);
    report(host.listDirectory(`${directory}/bind`));
    report(attempt(() => host.unmount(`${directory}/bind`, false)));
    report(attempt(() => host.mount("none", `${directory}/missing`, "tmpfs", 0, "")));
    report(attempt(() => host.mount("none", `${directory}/tmp`, "no-such-type", 0, "")));
    report(attempt(() => host.mount("none", `${directory}/tmp`, "tmpfs", 0, "x".repeat(4096))));
    const busy = host.open(`${directory}/tmp/file`, host.O_RDONLY);
    report(attempt(() => host.unmount(`${directory}/tmp`, false)));
    host.unmount(`${directory}/tmp`, true);
    report(host.listDirectory(`${directory}/tmp`));
    host.close(busy);
    command("ln", "-s", "tmp", `${directory}/link`);
    host.mount("tmpfs", `${directory}/tmp`, "tmpfs", 0, "");
    report(attempt(() => host.unmount(`${directory}/link`, true)));
    host.unmount(`${directory}/tmp`, false);
    report(openDescriptors() - before);
  },
  /** Relative lower directories resolve where they are told to, and the working directory stays. */
  overlay(directory: string): void {
    const before = openDescriptors();
    host.mount("tmpfs", directory, "tmpfs", 0, "");
    for (const name of ["1", "2", "upper", "work", "merged"])
      host.makeDirectory(`${directory}/${name}`, 0o755);
    writeFile(`${directory}/1/one`, "1");
    writeFile(`${directory}/2/two`, "2");
    const here = host.workingDirectory();
    const data = `lowerdir=1:2,upperdir=${directory}/upper,workdir=${directory}/work`;
    host.mount("overlay", `${directory}/merged`, "overlay", 0, data, directory);
    report(host.listDirectory(`${directory}/merged`).sort());
    report(host.workingDirectory() === here);
    report(
      attempt(() => host.mount("overlay", `${directory}/merged`, "overlay", 0, "lowerdir=none", directory)),
    );
    report(
      attempt(() => host.mount("overlay", `${directory}/merged`, "overlay", 0, data, `${directory}/missing`)),
    );
    report(host.workingDirectory() === here);
    host.unmount(`${directory}/merged`, false);
    report(openDescriptors() - before);
  },
  loopDevice(directory: string, image: string): void {
    const target = `${directory}/loop`;
    host.makeDirectory(target, 0o755);
    const writable = host.attachLoop(image, false);
    host.mount(writable.path, target, "ext4", 0, "");
    host.close(writable.fd);
    writeFile(`${target}/file`, "kept in the image");
    report(attempt(() => host.removeDirectory(target)));
    host.unmount(target, false);
    const readOnly = host.attachLoop(image, true);
    host.mount(readOnly.path, target, "ext4", MS_RDONLY, "");
    host.close(readOnly.fd);
    report(read(`${target}/file`));
    report(attempt(() => host.open(`${target}/other`, host.O_WRONLY | host.O_CREAT, 0o600)));
    host.unmount(target, false);
    report(attempt(() => host.attachLoop(`${directory}/missing`, true)));
    report(openDescriptors());
  },
};
