// Starts the built gateway as a process of its own, in a folder of its own, through
// the public command line only.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
/** Whether Smithers itself executes the workflows, behind the gateway. */
export const smithers = process.env.CONFORMANCE_RUNTIME === "smithers";
const workspace = fileURLToPath(new URL(smithers ? "../workspace-smithers" : "../workspace", import.meta.url));
const module = smithers ? "gateway.tsx" : "gateway.mjs";
const binary = process.env.SMITHERS_GATEWAY_BINARY;
if (!binary) throw new Error("SMITHERS_GATEWAY_BINARY must name the built gateway; use run.sh");

/** How long a test waits for what must happen soon, on a busy machine too. */
export const patience = 120_000;

let hopeless = false;
/** Runs what is expected to fail: what it waits for comes at once or not at all. */
export async function impatiently(body) {
  hopeless = true;
  try {
    return await body();
  } finally {
    hopeless = false;
  }
}

export class Gateway {
  /** @param options env: more environment; caddyfile: lines of the smithers block, instead of `serve` */
  static async start(options = {}) {
    const g = new Gateway();
    g.dir = await mkdtemp(path.join(tmpdir(), "conformance-"));
    await cp(workspace, path.join(g.dir, "workspace"), { recursive: true });
    if (smithers) await install(path.join(g.dir, "workspace"));
    g.port = await freePort();
    g.url = `http://127.0.0.1:${g.port}`;
    g.options = options;
    g.env = {
      PATH: process.env.PATH, HOME: g.dir, PORT: String(g.port),
      SMITHERS_DB_PATH: path.join(g.dir, "smithers.db"),
      SMITHERS_TOKEN_STORE: path.join(g.dir, "tokens.json"),
      SMITHERS_GATEWAY_MODULE: path.join(g.dir, "workspace", module),
      ...options.env,
    };
    g.tokens = {
      all: await g.issue("*", "alice"),
      bob: await g.issue("run:write,approval:submit,signal:submit", "bob"),
      reader: await g.issue("run:read", "rita"),
    };
    await g.launch();
    return g;
  }

  /** A token made by the binary's own command. */
  async issue(scopes, user, ...more) {
    const { stdout } = await run(binary, ["token", "issue", "--scopes", scopes, "--user-id", user, "--format", "json", ...more], { env: this.env });
    return JSON.parse(stdout).token;
  }

  async launch() {
    const args = this.options.caddyfile === undefined ? ["serve"] : ["run", "--adapter", "caddyfile", "--config", await this.#caddyfile()];
    this.log = "";
    this.child = spawn(binary, args, { cwd: this.dir, env: this.env, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on("data", (d) => { this.log = (this.log + d).slice(-200_000); });
    this.exited = once(this.child, "exit");
    await until("a ready gateway", async () => {
      if (this.child.exitCode !== null) throw new Error(`the gateway ended:\n${this.log}`);
      const response = await fetch(`${this.url}/health/ready`).catch(() => undefined);
      await response?.arrayBuffer();
      return response?.status === 200;
    });
    // A store that was just written counts within a second.
    for (const token of Object.values(this.tokens)) {
      await until("the token to count", async () => (await this.post("listRuns", {}, token)).status === 200);
    }
  }

  /** Makes a file below the gateway's home folder; its module is in workspace/. */
  async write(name, text) {
    const file = path.join(this.dir, name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, text);
  }

  async #caddyfile() {
    const file = path.join(this.dir, "Caddyfile");
    await writeFile(file, `{
	admin off
	persist_config off
	grace_period 5s
}
http://127.0.0.1:${this.port} {
	smithers {
		${this.options.caddyfile.join("\n\t\t")}
	}
}
`);
    return file;
  }

  /** One RPC without the official client. */
  async post(method, params, token = this.tokens.all) {
    const response = await fetch(`${this.url}/v1/rpc/${method}`, {
      method: "POST", body: JSON.stringify(params), headers: token === "" ? {} : { authorization: `Bearer ${token}` },
    });
    return { status: response.status, body: await response.json() };
  }

  /** Ends the process as a power cut does. */
  async kill() {
    this.child.kill("SIGKILL");
    await this.exited;
  }

  /** Ends the process and removes its folder, then throws if its log shows errors. */
  async stop() {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill("SIGTERM");
      const timer = setTimeout(() => this.child.kill("SIGKILL"), 15_000);
      await this.exited;
      clearTimeout(timer);
    }
    await rm(this.dir, { recursive: true, force: true });
    const errors = this.errors();
    if (errors.length > 0) throw new Error(`errors in the gateway's log:\n${errors.join("\n")}`);
  }

  /** Lines of the log that a healthy life has none of. The access log calls every 5xx an error. */
  errors() {
    return this.log.split("\n").filter((line) => (/"level":"(error|panic|fatal)"/.test(line) && !line.includes('"logger":"http.log.access"') &&
      !line.includes('"logger":"smithers.process"')) /* what Smithers says of tasks that fail */ ||
      /^(panic|fatal error):/.test(line));
  }
}

/** Gives a workspace the packages of examples/smithers, or of SMITHERS_NODE_MODULES. */
async function install(folder) {
  const packages = process.env.SMITHERS_NODE_MODULES ?? fileURLToPath(new URL("../../examples/smithers/node_modules", import.meta.url));
  await writeFile(path.join(folder, "package.json"), '{"name":"workspace","private":true,"type":"module"}');
  await writeFile(path.join(folder, "tsconfig.json"), '{"compilerOptions":{"jsx":"react-jsx","jsxImportSource":"smithers-orchestrator"}}');
  await symlink(packages, path.join(folder, "node_modules"));
}

/** Polls until check answers something true, which is returned. */
export async function until(what, check, ms = hopeless ? 3_000 : patience) {
  const deadline = Date.now() + ms;
  let last;
  for (;;) {
    const value = await check((seen) => { last = seen; });
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`waited ${ms} ms in vain for ${what}${last === undefined ? "" : `; last seen: ${JSON.stringify(last)}`}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A port that nobody listens on, below those that the system gives to outgoing connections: one of these could take it meanwhile. */
async function freePort() {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    const server = createServer().listen(port);
    try {
      await once(server, "listening");
    } catch (error) {
      if (error.code === "EADDRINUSE") continue;
      throw error;
    }
    server.close();
    await once(server, "close");
    return port;
  }
}
