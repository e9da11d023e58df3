// Every success payload that reaches the official client, over HTTP or a socket, is
// validated against the response schema of the official contract package.
import * as official from "@smithers-orchestrator/gateway";
import Ajv from "ajv";
import WS from "ws";
import { SmithersGatewayClient } from "../.cache/client.mjs";
import { differentResults, moreMembers } from "./differences.mjs";

export { official };

const ajv = new Ajv({ strict: false, allErrors: true });
const validators = new Map(official.GATEWAY_RPC_DEFINITIONS.map((d) => [d.method, ajv.compile(schemaOf(d))]));
const requests = new Map(official.GATEWAY_RPC_DEFINITIONS.map((d) => [d.method, ajv.compile(d.requestSchema)]));

function schemaOf({ method, responseSchema }) {
  if (method in differentResults) return differentResults[method].schema;
  if (!(method in moreMembers)) return responseSchema;
  const schema = structuredClone(responseSchema);
  Object.assign((schema.items ?? schema).properties, moreMembers[method].members);
  return schema;
}

/** Number of validated payloads by canonical method. */
export const validated = new Map();
/** What did not meet its schema; the suite ends with a failure if there is any. */
export const violations = [];

/** Throws unless payload meets the contract of the method. */
export function validate(method, payload) {
  const name = official.canonicalGatewayRpcMethod(method) ?? method;
  const check = validators.get(name);
  if (check === undefined) return; // not in the catalogue: rpc.md only
  if (!check(payload)) {
    const problem = `${method}: ${ajv.errorsText(check.errors)} in ${JSON.stringify(payload).slice(0, 500)}`;
    violations.push(problem);
    throw new Error(problem);
  }
  validated.set(name, (validated.get(name) ?? 0) + 1);
}

/** Throws unless params are such as the contract lets a client send. */
export function validRequest(method, params) {
  const check = requests.get(method);
  if (check && !check(params)) throw new Error(`${method}: ${ajv.errorsText(check.errors)}`);
}

async function checkedFetch(url, init) {
  const response = await fetch(url, init);
  const method = /\/v1\/rpc\/([^/?]+)$/.exec(String(url))?.[1];
  if (method !== undefined) {
    const frame = await response.clone().json();
    checkResponse(method, frame);
    if (response.headers.get("x-smithers-api-version") !== "v1") throw new Error(`${method}: no API version header`);
  }
  return response;
}

function checkResponse(method, frame) {
  if (frame.type !== "res" || frame.apiVersion !== "v1" || typeof frame.id !== "string") {
    throw new Error(`${method}: not a response frame: ${JSON.stringify(frame)}`);
  }
  if (frame.ok) validate(method, frame.payload);
  else if (frame.error.version !== "v1" || "stack" in frame.error) throw new Error(`${method}: bad error ${JSON.stringify(frame.error)}`);
}

// CheckedSocket is a socket that validates what passes. Its frames are kept so that
// tests can look at order.
class CheckedSocket extends WS {
  constructor(...args) {
    super(...args);
    const sent = new Map();
    let seq = 0;
    let stateVersion = 0;
    this.frames = [];
    const send = this.send.bind(this);
    this.send = (text, ...more) => {
      const frame = JSON.parse(text);
      sent.set(frame.id, frame.method);
      send(text, ...more);
    };
    this.on("message", (data) => {
      const frame = JSON.parse(data);
      this.frames.push(frame);
      try {
        if (frame.type === "res") {
          checkResponse(sent.get(frame.id), frame);
          return;
        }
        if (frame.type !== "event" || frame.apiVersion !== "v1" || frame.seq !== seq + 1 || frame.stateVersion < stateVersion) {
          throw new Error(`bad frame after seq ${seq}, stateVersion ${stateVersion}: ${String(data).slice(0, 300)}`);
        }
        ({ seq, stateVersion } = frame);
      } catch (error) {
        violations.push(String(error));
        this.terminate();
      }
    });
    sockets.add(this);
    this.on("close", () => sockets.delete(this));
  }
}

/** Sockets that are open now. */
export const sockets = new Set();

/** The official client, whose traffic is checked. */
export function client(gateway, token = gateway.tokens.all) {
  return new SmithersGatewayClient({ baseUrl: gateway.url, token, fetch: checkedFetch, WebSocket: CheckedSocket, client: { id: "conformance", platform: "node" } });
}
