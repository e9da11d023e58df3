// What the gateway does not have yet. Each of these has its test, which is run all the
// same: it must fail because the method or route is unknown. One that answers anything
// else fails the suite, so an entry must go in the commit that brings what it names.

/** Why a test is waiting, by its name: an RPC method, or what else a test is called. */
export const pending = {
};
