// The lease that keeps what a transfer brings in until something else does. One that is broken off leaves it for a day, so that the next pull of the same
// image goes on where it was; that one then takes it away.
import { randomBytes } from "node:crypto";
import { isVerdict } from "./fetch.ts";
import { type ImageServices, orNone } from "./services.ts";

/** What a lease of an image's transfer is for. */
const IMAGE_LABEL = "holdfast.io/transfer.image";
const OWNER_LABEL = "holdfast.io/transfer.owner";
const KEPT_MS = 24 * 3600 * 1000;

/** Of this process: what another has left of a transfer is nobody's. */
const owner = randomBytes(8).toString("hex");
const active = new Set<string>();

/** Does `act` under a lease of its own. What cannot be gone on with has no `image`. */
export async function underLease<T>(
  services: ImageServices,
  image: string | undefined,
  act: (services: ImageServices) => Promise<T>,
): Promise<T> {
  const id = `transfer-${randomBytes(8).toString("hex")}`;
  const expire = new Date(Date.now() + KEPT_MS).toISOString();
  const labels = {
    "containerd.io/gc.expire": expire,
    [OWNER_LABEL]: owner,
    ...(image !== undefined && { [IMAGE_LABEL]: image }),
  };
  active.add(id);
  try {
    await services.leases.create({ id, labels });
    const result = await act(services.underLease(id));
    if (image !== undefined) await removeOlder(services, image);
    await services.leases.delete({ id, sync: false });
    return result;
  } catch (error) {
    // What is wrong is gone when the caller hears of it.
    if (image === undefined || isVerdict(error) || (await isEmpty(services, id)))
      await services.leases.delete({ id, sync: true }).catch(() => {});
    throw error;
  } finally {
    active.delete(id);
  }
}

async function isEmpty({ leases }: ImageServices, id: string): Promise<boolean> {
  const found = await orNone(leases.listResources({ id })).catch(() => undefined);
  return found?.resources.length === 0;
}

/** Leases of earlier transfers of the image that came to no end. */
async function removeOlder({ leases }: ImageServices, image: string): Promise<void> {
  const filters = [`labels."${IMAGE_LABEL}"==${JSON.stringify(image)}`];
  const { leases: found } = await leases.list({ filters });
  const left = found.filter(({ id, labels }) => labels[OWNER_LABEL] !== owner || !active.has(id));
  for (const { id } of left) await leases.delete({ id, sync: false }).catch(() => {});
}
