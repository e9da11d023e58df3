// Where the original server answers otherwise than its own catalogue says. The gateway
// does as the server does, since clients were written against that.

/** Results with another shape than the catalogue's. */
export const differentResults = {
  cancelRun: {
    why: "the catalogue promises a status \"cancelling\" that no server ever sent (Q26)",
    schema: {
      type: "object", additionalProperties: false, required: ["won", "status", "repaired", "runId"],
      properties: {
        won: { type: "boolean" }, repaired: { type: "boolean" }, runId: { type: "string" },
        status: { enum: ["cancelled", "already-terminal", "not-found"] }, terminalStatus: { type: "string" },
      },
    },
  },
};

/** Members that servers send beyond what the catalogue lists. */
export const moreMembers = {
  listDocs: { members: { status: { type: ["string", "null"] } }, why: "the server sends a document's status" },
};

/** HTTP status of error codes for which the catalogue names another one. */
export const differentStatus = {
  CronNotFound: { status: 500, why: "in the catalogue only; a missing schedule is NOT_FOUND (Q26)" },
  TicketNotFound: { status: 500, why: "in the catalogue only; a missing ticket is NOT_FOUND (Q26)" },
  TIME_TRAVEL_SIDE_EFFECT_BLOCKED: { status: 500, why: "the server answers 500 (Q26)" },
};

/** Aliases that servers know and the package does not list. */
export const moreAliases = {
  "workflows.list": "listWorkflows",
  "approvals.list": "listApprovals",
};
