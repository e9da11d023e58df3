// What tasks change in a git work tree.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe } from "node:test";
import { test } from "../src/smithers.mjs";
import path from "node:path";
import { client } from "../src/contract.mjs";
import { Gateway } from "../src/gateway.mjs";
import { launch, status } from "../src/runs.mjs";

describe("diffs", () => {
  let gateway, c, root;
  const git = (...args) => execFileSync("git", ["-C", root, "-c", "user.name=d", "-c", "user.email=d@example.org", ...args], { encoding: "utf8", env: gateway.env }).trim();
  before(async () => {
    gateway = await Gateway.start({ caddyfile: ["exec sh"] });
    c = client(gateway);
    await gateway.write("repository/a.txt", "hello\n");
    root = path.join(gateway.dir, "repository");
    git("init", "-q");
    git("add", "a.txt");
    git("commit", "-q", "-m", "first");
  });
  after(async () => {
    c?.close();
    await gateway.stop();
  });

  test("of nodes and of the run", async () => {
    const runId = await launch(c, "writer", { dir: root });
    await status(c, runId, "finished");
    const w1 = await c.getNodeDiff({ runId, nodeId: "w1", iteration: 0 });
    assert.equal(w1.baseRef, git("rev-parse", "HEAD^{tree}"));
    assert.deepEqual(w1.patches.map((p) => [p.path, p.operation]), [["a.txt", "modify"], ["new.txt", "add"]]);
    assert.match(w1.patches[0].diff, /^diff --git a\/a\.txt b\/a\.txt\n[^]*\n hello\n\+changed\n$/);
    const w2 = await c.getNodeDiff({ runId, nodeId: "w2", iteration: 0 });
    assert.deepEqual(w2.patches.map((p) => [p.path, p.operation, p.binaryContent]), [["a.txt", "delete", undefined], ["bin.dat", "add", "AAECA/8="]]);
    const all = await c.getRunDiff({ runId });
    assert.deepEqual([all.seq, all.baseRef], [1, w1.baseRef]);
    assert.deepEqual(all.patches.map((p) => [p.path, p.operation]), [["a.txt", "delete"], ["bin.dat", "add"], ["new.txt", "add"]]);
    const run = await c.getRun({ runId });
    assert.deepEqual([run.vcsType, run.vcsRevision], ["git", git("rev-parse", "HEAD")]);
    assert.equal(git("status", "--porcelain"), "D a.txt\n?? bin.dat\n?? new.txt");
  });
});
