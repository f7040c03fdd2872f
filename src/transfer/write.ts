// A blob into the daemon's content from a stream, of a digest that is known or not.
import { createHash, randomBytes } from "node:crypto";
import { WriteAction } from "../api/generated/content.ts";
import { Code } from "../ttrpc/status.ts";
import { codeOf, type ImageServices } from "./services.ts";

const CHUNK = 512 * 1024;

/** Returns its digest and size. Rejects with FAILED_PRECONDITION if it is not the one that is `expected`; "" for any. */
export async function writeBlob(
  services: ImageServices,
  source: AsyncIterable<Uint8Array>,
  expected = "",
): Promise<{ digest: string; size: number }> {
  const ref = `import-${randomBytes(8).toString("hex")}`;
  const stream = services.writeContent();
  const hash = createHash("sha256");
  let offset = 0;
  let pending: Uint8Array[] = [];
  let waiting = 0;
  const flush = async (): Promise<void> => {
    if (waiting === 0) return;
    const data = Buffer.concat(pending);
    pending = [];
    waiting = 0;
    await stream.send({ action: WriteAction.WRITE, ref, offset: BigInt(offset), data });
    offset += data.length;
  };
  try {
    for await (const chunk of source) {
      hash.update(chunk);
      pending.push(chunk);
      waiting += chunk.length;
      if (waiting >= CHUNK) await flush();
    }
    await flush();
    const digest = `sha256:${hash.digest("hex")}`;
    await stream
      .send({ action: WriteAction.COMMIT, ref, offset: BigInt(offset), total: BigInt(offset), expected })
      .catch((error: unknown) => {
        if (codeOf(error) !== Code.ALREADY_EXISTS) throw error;
      });
    return { digest, size: offset };
  } catch (error) {
    await stream.end();
    await services.content.abort({ ref }).catch(() => {});
    throw error;
  } finally {
    await stream.end();
  }
}

export async function writeBytes(
  services: ImageServices,
  bytes: Buffer,
): Promise<{ digest: string; size: number }> {
  return writeBlob(
    services,
    (async function* () {
      yield bytes;
    })(),
  );
}
