// The version service.
import type { VersionDefinition } from "../../api/generated/version.ts";
import { REVISION, VERSION } from "../../api/version.ts";
import type { Handlers } from "../server/grpc-server.ts";

export const versionService: Handlers<VersionDefinition> = {
  version: () => ({ version: VERSION, revision: REVISION }),
};
