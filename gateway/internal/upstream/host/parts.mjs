// What of Smithers's Gateway this script uses beyond its documented interface. Another
// version may lack some: what needs that is left out then, and said.
const isFunction = (value) => typeof value === "function";
const isIndex = (value) => isFunction(value?.has) && typeof value.size === "number";

const NEEDS = {
  "runs of a process that has ended are not continued": {
    activeRuns: isIndex,
    workflows: isIndex,
    adapterForWorkflow: isFunction,
    resumeRunIfNeeded: isFunction,
    resolveRunWorkflowKey: isFunction,
  },
  "a process of a former module stays until it is stopped": { activeRuns: isIndex },
};

// lacking says what does not work with a gateway, and why.
export function lacking(gateway) {
  const lines = [];
  for (const [what, parts] of Object.entries(NEEDS)) {
    const missing = Object.keys(parts).filter((name) => !parts[name](gateway[name]));
    if (missing.length > 0) lines.push(`this version of smithers-orchestrator has no ${missing.join(", ")} as it is known: ${what}`);
  }
  return lines;
}

export const canTakeOver = (gateway) => Object.entries(Object.values(NEEDS)[0]).every(([name, fits]) => fits(gateway[name]));
export const knowsItsRuns = (gateway) => isIndex(gateway.activeRuns);
