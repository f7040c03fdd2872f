// Gives the protobuf runtime the platform's UTF-8, where the engine has no TextEncoder. The shim calls it once, before any message.

import { configureTextEncoding } from "@bufbuild/protobuf/wire";
import type { Text } from "../platform/platform.ts";

export function useTextEncoding(text: Text): void {
  configureTextEncoding({
    encodeUtf8: (value) => text.encode(value) as Uint8Array<ArrayBuffer>,
    decodeUtf8: (bytes) => text.decode(bytes),
    // Only reflection asks, which we do not use.
    checkUtf8: () => true,
  });
}
