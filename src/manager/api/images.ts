// The images service: names for descriptors, nothing more (containerd's metadata/images.go).
import type { Image, ImagesDefinition } from "../../api/generated/images.ts";
import { timestampFromNs } from "../../api/timestamp.ts";
import { hexOf } from "../../images/digest.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import type { Images } from "../images/images.ts";
import type { Store } from "../records/store.ts";
import { parseFilters } from "../server/filters.ts";
import type { Handlers } from "../server/grpc-server.ts";
import { validateLabels } from "../server/identifiers.ts";
import { changeLabels, nowText, withoutEmpty } from "./labels.ts";
import { ensureNamespace } from "./namespaces.ts";

export function imagesService(collection: Images, store: Store): Handlers<ImagesDefinition> {
  const { images } = store;
  return {
    get: ({ name }, call) => ({ image: images.get(call.namespace, name) }),

    list({ filters }, call) {
      const matches = parseFilters(filters);
      return {
        images: images.list(call.namespace).filter((image) => matches((path) => fieldOf(image, path))),
      };
    },

    async create({ image, sourceDateEpoch }, call) {
      const now = timestampFromNs(BigInt(nowText()));
      const record = {
        ...withoutEmptyLabels(given(image)),
        createdAt: sourceDateEpoch ?? now,
        updatedAt: sourceDateEpoch ?? now,
      };
      validate(record);
      await ensureNamespace(store, call.namespace);
      await images.insert(call.namespace, record.name, record);
      collection.publish.imageCreated(call.namespace, record);
      return { image: record };
    },

    async update({ image, updateMask, sourceDateEpoch }, call) {
      const wanted = given(image);
      const record = await images.update(call.namespace, wanted.name, (before) => {
        const after = merge(before, wanted, updateMask ?? []);
        validate(after);
        return { ...after, updatedAt: sourceDateEpoch ?? timestampFromNs(BigInt(nowText())) };
      });
      collection.publish.imageUpdated(call.namespace, record);
      collection.collectSoon();
      return { image: record };
    },

    async delete({ name, sync, target }, call) {
      const image = images.get(call.namespace, name);
      if (target !== undefined && target.digest !== "" && target.digest !== image.target?.digest) {
        const text = `image ${JSON.stringify(name)} has another target: ${image.target?.digest}: not found`;
        throw new TtrpcError(Code.NOT_FOUND, text);
      }
      await images.remove(call.namespace, name);
      collection.publish.imageDeleted(call.namespace, name);
      if (sync) await collection.collect();
      else collection.collectSoon();
      return {};
    },
  };
}

function given(image: Image | undefined): Image {
  if (image === undefined || image.name === "") {
    throw new TtrpcError(Code.INVALID_ARGUMENT, "Image.Name required: invalid argument");
  }
  return image;
}

function withoutEmptyLabels(image: Image): Image {
  return { ...image, labels: withoutEmpty(image.labels) };
}

function validate({ labels, target }: Image): void {
  validateLabels("image.Labels", labels);
  const refuse = (text: string): never => {
    throw new TtrpcError(Code.INVALID_ARGUMENT, `Target.${text}: invalid argument`);
  };
  const { digest = "", size = 0n, mediaType = "" } = target ?? {};
  try {
    hexOf(digest);
  } catch (error) {
    refuse(
      `Digest ${TtrpcError.from(error).rawMessage.replace(/^(".*"): (.*): invalid argument$/, "$1 invalid: $2")}`,
    );
  }
  if (size <= 0n) refuse("Size must be greater than zero");
  if (mediaType === "") refuse("MediaType must be set");
}

function merge(before: Image, wanted: Image, mask: readonly string[]): Image {
  if (mask.length === 0) return { ...withoutEmptyLabels(wanted), createdAt: before.createdAt };
  let after = before;
  for (const path of mask) {
    if (path === "target") after = { ...after, target: wanted.target };
    else if (path === "annotations" || path.startsWith("annotations.")) after = annotate(after, wanted, path);
    else after = { ...after, labels: changeLabels("image", after.labels, wanted.labels, [path], after.name) };
  }
  return after;
}

function annotate(after: Image, wanted: Image, path: string): Image {
  const { target } = after;
  if (target === undefined) return after;
  const annotations = wanted.target?.annotations ?? {};
  if (path === "annotations") return { ...after, target: { ...target, annotations } };
  const key = path.slice("annotations.".length);
  return {
    ...after,
    target: { ...target, annotations: { ...target.annotations, [key]: annotations[key] ?? "" } },
  };
}

function fieldOf({ name, target, labels }: Image, [first, ...rest]: readonly string[]): string | undefined {
  if (first === "name") return name;
  if (first === "target" && rest[0] === "digest") return target?.digest;
  if (first === "target" && rest[0] === "mediatype") return target?.mediaType;
  if (first === "labels") return labels[rest.join(".")];
  if (first === "annotations") return target?.annotations[rest.join(".")];
  return undefined;
}
