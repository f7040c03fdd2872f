// Broken config.json: a shim that is to create a container of one refuses it in words about the file, or hands it to the runtime, and lives.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Playground } from "../../harness/direct-shim.ts";
import { ociSpec } from "../../harness/rootfs.ts";
import type { Campaign } from "../campaign.ts";
import { INTERNAL, mutateBytes, mutateJson } from "./mutate.ts";

export const fuzzConfig: Campaign = {
  name: "fuzz-config",
  what: "changed config.json files: create is refused for a reason that is in the file, and the shim serves on",
  lives: { short: 100, full: 200_000 },
  async run(run) {
    const place = await Playground.create();
    // What the shim makes of the file is meant. No runtime ever sees it: a changed one might do anything to this machine.
    const runtime = join(place.directory, "no-runtime");
    writeFileSync(runtime, "#!/bin/sh\necho refused >&2\nexit 1\n", { mode: 0o755 });
    try {
      const shim = await place.shim("config", { args: ["true"] });
      const { shimPid } = await shim.connect("config");
      const whole = {
        ...ociSpec({ rootfs: place.rootfs, args: ["true"], cgroupsPath: "/none" }),
        annotations: { "io.holdfast.stdout": "drop", a: "b" },
      };
      const linux = {
        ...(whole as { linux?: object }).linux,
        uidMappings: [{ containerID: 0, hostID: 100_000, size: 65_536 }],
        gidMappings: [{ containerID: 0, hostID: 100_000, size: 65_536 }],
      };
      const seed = { ...whole, linux };
      for (let n = 0; n < run.lives; n++) {
        const text = JSON.stringify(run.random.chance(0.8) ? mutateJson(seed, run.random) : seed) ?? "";
        const bytes = run.random.chance(0.7) ? Buffer.from(text) : mutateBytes(Buffer.from(text), run.random);
        writeFileSync(join(place.bundle("config"), "config.json"), bytes);
        const refusal = await shim
          .create("config", place.bundle("config"), { options: { binaryName: runtime } })
          .then(
            () => "",
            (error: Error) => error.message,
          );
        run.did("creates");
        const shown = (): string => `${refusal} for ${bytes.toString().slice(0, 3000)}`;
        run.check("refusals", refusal !== "" && !INTERNAL.test(refusal), shown);
        const { shimPid: now } = await shim.connect("config");
        if (!run.check("answers", now === shimPid, `shim ${now}`)) break;
      }
      await shim.shutdown("config").catch(() => {});
      await place.forget(shim, "config");
      const left = await place.leftovers();
      run.check("what is left of all", left === "", left);
    } finally {
      await place.close();
    }
  },
};
