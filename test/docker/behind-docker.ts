// What people do with Docker, on a containerd whose containers come to our shim in one of the ways. Used by the tests in this folder, a file each way.
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { run } from "../harness/command.ts";
import { criuPath } from "../harness/criu-runtime.ts";
import { Docker, dockerVersion, IMAGE, type Way } from "../harness/docker.ts";
import { eventually } from "../harness/eventually.ts";
import { mountsBelow } from "../harness/leftovers.ts";
import { isRunning, processesMentioning } from "../harness/processes.ts";
import { isHoldfastd } from "../harness/runtime.ts";

const SLEEP = [IMAGE, "sleep", "1000000"];

/** For the `skip` of a way that the installed Docker does not know. */
function skipOf(way: Way): string | false {
  if (isHoldfastd) return "these tests are of containerd";
  if (Number.isNaN(dockerVersion)) return "Docker is not installed";
  if (way !== "instead" && dockerVersion < 23) {
    return "Docker takes shims by name since 23; before, ours takes the place of io.containerd.runc.v2";
  }
  return way === "instead" && dockerVersion >= 23 ? "Docker takes shims by name since 23" : false;
}

/** Docker's way to say its Compose: a plugin, or a program of its own; undefined if there is none. */
async function compose(docker: Docker): Promise<((args: readonly string[]) => string[]) | undefined> {
  if ((await run(["docker", "compose", "version"])).status === 0) {
    return (args) => ["docker", "--host", docker.host, "compose", ...args];
  }
  const asked = await run(["docker-compose", "version"]).catch(() => undefined);
  return asked?.status === 0 ? (args) => ["docker-compose", "--host", docker.host, ...args] : undefined;
}

/** Declares the tests. */
export async function testBehindDocker(way: Way): Promise<void> {
  const skip = skipOf(way);
  const started = skip === false ? await Docker.onContainerd(way) : undefined;
  after(() => started?.close());
  const onDocker = (name: string, body: (docker: Docker) => Promise<void>): void => {
    test(name, { skip }, () => body(started as Docker));
  };

  onDocker("a container is under our shim; output, input and status are its command's", async (docker) => {
    await docker.do(["run", "-d", "--name", "whose", ...SLEEP]);
    assert.equal(await docker.shimProgram("whose"), "containerd-shim-holdfast-v2");
    await docker.do(["rm", "--force", "whose"]);
    assert.equal(await docker.do(["run", "--rm", IMAGE, "echo", "hello"]), "hello");
    const piped = await docker.try(["run", "--rm", "-i", IMAGE, "cat"], { stdin: "through\n" });
    assert.deepEqual([piped.status, piped.stdout], [0, "through\n"]);
    for (const status of [0, 1, 42]) {
      assert.equal((await docker.try(["run", "--rm", IMAGE, "sh", "-c", `exit ${status}`])).status, status);
    }
    const absent = await docker.try(["run", "--rm", IMAGE, "no-such-program"]);
    assert.equal(absent.status, 127);
    assert.match(absent.stderr, /"no-such-program": executable file not found in \$PATH/);
  });

  onDocker("exec -it, attach and logs", async (docker) => {
    const echoes = ["sh", "-c", "echo up; while read line; do echo got $line; done; sleep 1000000"];
    await docker.do(["run", "-d", "-i", "--name", "talks", IMAGE, ...echoes]);
    const terminal = docker.terminal(["exec", "-it", "talks", "sh"]);
    await terminal.shows(/# /);
    terminal.type("echo $((40 + 2))x; exit 4\r");
    await terminal.shows(/42x/);
    assert.equal((await terminal.exited).status, 4);
    const attached = docker.spawn(["attach", "--sig-proxy=false", "talks"], { stdin: "pipe" });
    await eventually("an answer by attach", () => {
      attached.stdin.write("words\n");
      return attached.stdoutText.includes("got words");
    });
    attached.kill();
    await attached.exited;
    const logs = await docker.do(["logs", "talks"]);
    assert.match(logs, /^up\ngot words/);
    await docker.do(["rm", "--force", "talks"]);
  });

  onDocker("a shim is killed: the container stays up, attached clients and execs go on", async (docker) => {
    const echoes = ["sh", "-c", "while read line; do echo got $line; done; sleep 1000000"];
    await docker.do(["run", "-d", "-i", "--restart=no", "--name", "kept", IMAGE, ...echoes]);
    const attached = docker.spawn(["attach", "--sig-proxy=false", "kept"], { stdin: "pipe" });
    const answered = (word: string): Promise<unknown> =>
      eventually(`an answer to ${word}`, () => {
        attached.stdin.write(`${word}\n`);
        return attached.stdoutText.includes(`got ${word}`);
      });
    await answered("before");
    const shim = await docker.shimPid("kept");
    process.kill(shim, "SIGKILL");
    await eventually("another shim", () => !isRunning(shim));
    await answered("after");
    assert.equal(await docker.do(["exec", "kept", "echo", "still"]), "still");
    assert.match(await docker.do(["ps", "--filter", "name=kept", "--format", "{{.Status}}"]), /^Up /);
    assert.equal(await docker.inspect("kept", ".RestartCount"), "0");
    attached.kill();
    await attached.exited;
    await docker.do(["rm", "--force", "kept"]);
  });

  onDocker("stop waits for the container's own end, and kills what does not obey", async (docker) => {
    const obeys = "trap 'exit 8' TERM; echo up; while true; do sleep 0.02; done";
    const deaf = "trap '' TERM; echo up; while true; do sleep 0.02; done";
    await docker.do(["run", "-d", "--name", "obeys", IMAGE, "sh", "-c", obeys]);
    await docker.do(["run", "-d", "--name", "deaf", IMAGE, "sh", "-c", deaf]);
    for (const name of ["obeys", "deaf"]) {
      await eventually("its trap", async () => (await docker.do(["logs", name])).includes("up"));
    }
    await docker.do(["stop", "--time", "60", "obeys"]);
    await docker.do(["stop", "--time", "1", "deaf"]);
    const codes = [
      await docker.inspect("obeys", ".State.ExitCode"),
      await docker.inspect("deaf", ".State.ExitCode"),
    ];
    assert.deepEqual(codes, ["8", "137"]);
    await docker.do(["rm", "obeys", "deaf"]);
  });

  onDocker("restart policies start it again, as often as they say", async (docker) => {
    const fails = [IMAGE, "sh", "-c", "exit 1"];
    await docker.do(["run", "-d", "--name", "twice", "--restart", "on-failure:2", ...fails]);
    await docker.do([
      "run",
      "-d",
      "--name",
      "ever",
      "--restart",
      "always",
      IMAGE,
      "sh",
      "-c",
      "sleep 0.1; exit 0",
    ]);
    await eventually("two more runs", async () => {
      return (await docker.inspect("twice", ".RestartCount}} {{.State.Status")) === "2 exited";
    });
    await eventually("many runs", async () => Number(await docker.inspect("ever", ".RestartCount")) >= 3);
    await docker.do(["rm", "--force", "twice", "ever"]);
  });

  onDocker("a health check runs as an exec, and its answer is seen", async (docker) => {
    const check = ["--health-cmd", "test -e /tmp/well", "--health-interval", "1s", "--health-retries", "1"];
    await docker.do(["run", "-d", "--name", "patient", ...check, ...SLEEP]);
    const health = (): Promise<string> => docker.inspect("patient", ".State.Health.Status");
    await eventually("it to be unhealthy", async () => (await health()) === "unhealthy");
    await docker.do(["exec", "patient", "touch", "/tmp/well"]);
    await eventually("it to be healthy", async () => (await health()) === "healthy");
    await docker.do(["rm", "--force", "patient"]);
  });

  onDocker("--init reaps what nobody waits for", async (docker) => {
    const script = "for n in 1 2 3 4 5; do (sleep 0 &) ; done; sleep 1000000";
    await docker.do(["run", "-d", "--init", "--name", "init", IMAGE, "sh", "-c", script]);
    await eventually("no zombie to be there", async () => {
      return !/ Z /.test(await docker.do(["exec", "init", "ps", "-o", "pid,stat,comm"]));
    });
    await docker.do(["rm", "--force", "init"]);
  });

  onDocker("--pid host: the container's children go when it ends", async (docker) => {
    const script = "sleep 876543 & sleep 876543 & exit 3";
    const { status } = await docker.try(["run", "--rm", "--pid", "host", IMAGE, "sh", "-c", script]);
    assert.equal(status, 3);
    await eventually("its children to end", () => processesMentioning("sleep 876543").length === 0);
  });

  onDocker("a limit of -1 is no limit, for the container and for an exec in it", async (docker) => {
    await docker.do(["run", "-d", "--name", "unlimited", "--ulimit", "core=-1", ...SLEEP]);
    const pid = await docker.inspect("unlimited", ".State.Pid");
    const { stdout } = await run(["grep", "Max core file size", `/proc/${pid}/limits`]);
    assert.match(stdout, /unlimited +unlimited/);
    assert.equal(await docker.do(["exec", "unlimited", "sh", "-c", "ulimit -c"]), "unlimited");
    await docker.do(["rm", "--force", "unlimited"]);
  });

  onDocker("--memory: a container that is out of memory is told as OOM killed", async (docker) => {
    const hog = ["sh", "-c", "x=a; while true; do x=$x$x; done"];
    await docker.try(["run", "--name", "hog", "--memory", "16m", "--memory-swap", "16m", IMAGE, ...hog]);
    const state = "State.OOMKilled}} {{.State.ExitCode";
    assert.equal(await docker.inspect("hog", `.${state}`), "true 137");
    await docker.do(["rm", "hog"]);
  });

  onDocker(
    "--live-restore: dockerd and containerd are killed; the container goes on, an exit meanwhile is told",
    async (docker) => {
      const script = "while [ ! -e /tmp/go ]; do sleep 0.02; done; exit 6";
      await docker.do(["run", "-d", "--name", "stays", ...SLEEP]);
      await docker.do(["run", "-d", "--name", "ends", IMAGE, "sh", "-c", script]);
      const pid = Number(await docker.inspect("stays", ".State.Pid"));
      const ending = Number(await docker.inspect("ends", ".State.Pid"));
      await docker.kill();
      await docker.daemon.kill();
      await docker.touchIn(ending, "/tmp/go");
      await eventually("it to end", () => !isRunning(ending));
      await docker.daemon.launch();
      await docker.launch();
      assert.equal(Number(await docker.inspect("stays", ".State.Pid")), pid);
      assert.equal(await docker.do(["exec", "stays", "echo", "still"]), "still");
      await eventually(
        "the exit to be told",
        async () => (await docker.inspect("ends", ".State.Running")) === "false",
      );
      assert.equal(await docker.inspect("ends", ".State.ExitCode"), "6");
      await docker.do(["rm", "--force", "stays", "ends"]);
    },
  );

  test("docker compose: three services come up, one after the other is well, and go down", {
    skip,
  }, async (context) => {
    const docker = started as Docker;
    const program = await compose(docker);
    if (program === undefined) return context.skip("docker-compose is not installed");
    const directory = join(docker.daemon.directory, "project");
    mkdirSync(directory);
    // The second form of the file has conditions in every Compose, the old program's included.
    const runtime = way === "each" ? "    runtime: io.containerd.holdfast.v2\n" : "";
    const service = (name: string, rest: string): string =>
      `  ${name}:\n    image: ${IMAGE}\n    network_mode: none\n    init: false\n${runtime}${rest}`;
    const file = [
      'version: "2.4"\nservices:\n',
      service(
        "base",
        '    command: sleep 1000000\n    healthcheck:\n      test: ["CMD", "true"]\n      interval: 1s\n',
      ),
      service(
        "middle",
        "    command: sleep 1000000\n    depends_on:\n      base:\n        condition: service_healthy\n",
      ),
      service("job", "    command: echo done\n    depends_on: [middle]\n"),
    ];
    writeFileSync(join(directory, "docker-compose.yml"), file.join(""));
    const say = async (args: readonly string[]): Promise<string> => {
      const { status, stdout, stderr } = await run(program(["--project-name", "three", ...args]), {
        cwd: directory,
        env: { DOCKER_HOST: docker.host },
      });
      assert.equal(status, 0, stderr);
      return stdout;
    };
    await say(["up", "--detach"]);
    await eventually("the job's output", async () => (await say(["logs", "job"])).includes("done"));
    const ids = (
      await docker.do(["ps", "--quiet", "--filter", "label=com.docker.compose.project=three"])
    ).split("\n");
    assert.equal(ids.length, 2);
    for (const id of ids) assert.equal(await docker.shimProgram(id), "containerd-shim-holdfast-v2");
    await say(["down", "--timeout", "0"]);
    assert.equal(await docker.do(["ps", "--all", "--quiet", "--filter", "name=three"]), "");
  });

  onDocker("a checkpoint is gone on from, and refused in words where there is no criu", async (docker) => {
    const counts = ["sh", "-c", "n=0; while true; do n=$((n + 1)); echo $n; sleep 0.05; done"];
    await docker.do(["run", "-d", "--name", "counts", IMAGE, ...counts]);
    const numbers = async (): Promise<number[]> =>
      (await docker.do(["logs", "counts"])).split("\n").map(Number);
    await eventually("it to count", async () => (await numbers()).length > 10);
    // Docker says that the container is to end with it only to a runtime of the name io.containerd.runc.v2.
    const made = await docker.try(["checkpoint", "create", "--leave-running", "counts", "first"]);
    assert.equal(await docker.inspect("counts", ".State.Status"), "running");
    if (criuPath === undefined) {
      assert.notEqual(made.status, 0);
      assert.match(made.stderr, /checkpoint needs criu, which this host has not/);
    } else {
      assert.equal(made.status, 0, made.stderr);
      await docker.do(["kill", "counts"]);
      const before = await numbers();
      await docker.do(["start", "--checkpoint", "first", "counts"]);
      await eventually("it to count on", async () => (await numbers()).length > before.length + 5);
      const next = (await numbers())[before.length] ?? 0;
      assert.ok(next > 10 && next <= before.length + 1, `${next} came after ${before.at(-1)}`);
    }
    await docker.do(["rm", "--force", "counts"]);
  });

  onDocker("nothing is left behind", async (docker) => {
    await eventually("all shims to go", () =>
      processesMentioning(docker.daemon.address).every(
        ({ commandLine }) => !commandLine.includes("containerd-shim"),
      ),
    );
    assert.deepEqual(mountsBelow(join(docker.daemon.directory, "state")), []);
  });
}
