// What a DevTools client does with a stream: the tree as the snapshots and deltas of the
// protocol describe it.
import assert from "node:assert/strict";

/** Every node of a tree, parents before their children. */
export function nodesOf(root) {
  return [root, ...root.children.flatMap(nodesOf)];
}

/** A tree that follows the events of one stream. */
export class Tree {
  seq = -1;
  kinds = [];

  /** Takes one event, the `event` member of a devtools.event payload. */
  take(event) {
    assert.equal(event.version, 1);
    this.kinds.push(event.kind);
    if (event.kind === "snapshot") {
      assert.equal(event.snapshot.seq, event.snapshot.frameNo);
      this.root = structuredClone(event.snapshot.root);
      this.seq = event.snapshot.seq;
      return;
    }
    const { delta } = event;
    assert.deepEqual([event.kind, delta.version, delta.baseSeq], ["delta", 1, this.seq]);
    for (const op of delta.ops) this.#apply(structuredClone(op));
    this.seq = delta.seq;
  }

  #apply(op) {
    const ops = {
      replaceRoot: () => { this.root = op.node; },
      addNode: () => {
        const { node } = this.#find(op.parentId);
        node.children.splice(Math.min(op.index, node.children.length), 0, op.node);
      },
      removeNode: () => {
        const { node, parent } = this.#find(op.id);
        parent.children.splice(parent.children.indexOf(node), 1);
      },
      updateProps: () => { this.#find(op.id).node.props = op.props; },
      updateTask: () => {
        const { node } = this.#find(op.id);
        if (op.task === undefined) delete node.task;
        else node.task = op.task;
      },
    };
    assert.ok(op.op in ops, `unknown operation ${op.op}`);
    ops[op.op]();
  }

  #find(id) {
    const stack = [{ node: this.root }];
    while (stack.length > 0) {
      const at = stack.pop();
      if (at.node.id === id) return at;
      stack.push(...at.node.children.map((node) => ({ node, parent: at.node })));
    }
    throw new Error(`no node ${id} in frame ${this.seq}`);
  }
}
