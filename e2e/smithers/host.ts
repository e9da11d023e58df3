// A Smithers Gateway that somebody else runs: the module's workflows, on a unix socket
// for a proxy that is trusted (SOCKET), or on a port for a token (PORT, TOKEN).
import { Gateway } from "smithers-orchestrator";
import { register } from "./gateway.tsx";

const { SOCKET, PORT, TOKEN } = process.env;
const gateway = new Gateway({
  auth: SOCKET
    ? { mode: "trusted-proxy" }
    : { mode: "token", tokens: { [TOKEN!]: { role: "operator", scopes: ["*"], userId: "alice" } } },
  operatorUi: false,
});
register(gateway);
await gateway.listen(SOCKET ? { path: SOCKET } : { port: Number(PORT), host: "127.0.0.1" });
