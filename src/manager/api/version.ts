// The version service.
import type { VersionDefinition } from "../../api/generated/version.ts";
import type { Handlers } from "../grpc-server.ts";
import { REVISION, VERSION } from "../version.ts";

export const versionService: Handlers<VersionDefinition> = {
  version: () => ({ version: VERSION, revision: REVISION }),
};
