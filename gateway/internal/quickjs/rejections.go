package quickjs

import (
	"modernc.org/libc"
	lib "modernc.org/libquickjs"
)

// rejections are the promises that were rejected before anyone listened to them, each with
// its reason, in the order of their rejection. Those that found a listener since are
// undefined.
type rejections struct {
	list []rejection
	at   map[uintptr]int // where a promise is in list
}

type rejection struct{ promise, reason lib.TJSValue }

// maxRejections bounds what is kept for the next turn.
const maxRejections = 256

func (r *rejections) clear() {
	if cap(r.list) > maxRejections {
		*r = rejections{}
		return
	}
	clear(r.list)
	r.list = r.list[:0]
	clear(r.at)
}

// trackRejection is what the engine calls for a promise that is rejected without a
// listener, and again when it gets its first one.
func trackRejection(tls *libc.TLS, ctx uintptr, promise, reason lib.TJSValue, handled int32, opaque uintptr) {
	r := &vmAt(opaque).unheard
	address := objectOf(promise)
	if handled == 0 {
		if r.at == nil {
			r.at = map[uintptr]int{}
		}
		r.at[address] = len(r.list)
		// Held, or another object may come to lie where the promise did.
		r.list = append(r.list, rejection{lib.XDupValue(tls, ctx, promise), lib.XDupValue(tls, ctx, reason)})
		return
	}
	i, ok := r.at[address]
	if !ok {
		return // told already
	}
	delete(r.at, address)
	was := r.list[i]
	r.list[i] = rejection{undefined(), undefined()}
	// As each that is awaited: what was heard is not kept until the end of the turn.
	for last := len(r.list) - 1; last >= 0 && tagOf(r.list[last].promise) == lib.EJS_TAG_UNDEFINED; last-- {
		r.list = r.list[:last]
	}
	lib.XFreeValue(tls, ctx, was.promise)
	lib.XFreeValue(tls, ctx, was.reason)
}

// Unheard returns the reasons of the promises that were rejected since it was last called
// and that nobody listens to, in the order of their rejection. The caller frees them.
func (vm *VM) Unheard() []Value {
	r := &vm.unheard
	var reasons []Value
	for _, one := range r.list {
		if tagOf(one.promise) == lib.EJS_TAG_UNDEFINED {
			continue
		}
		lib.XFreeValue(vm.thread.tls, vm.context, one.promise)
		reasons = append(reasons, Value{one.reason})
	}
	r.clear()
	return reasons
}
