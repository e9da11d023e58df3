// The official client is published as TypeScript: it is bundled as it stands, without
// any change, into a file that Node can import.
import { build } from "esbuild";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

await build({
  stdin: { contents: 'export * from "@smithers-orchestrator/gateway-client";', resolveDir: root, loader: "ts" },
  outfile: `${root}.cache/client.mjs`,
  bundle: true, platform: "node", format: "esm", target: "node20", logLevel: "error",
  banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
});
