package jsmod

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

// TestGlobals has a case for each global that docs/globals.md lists: an expression
// and its value as JSON sees it.
func TestGlobals(t *testing.T) {
	tests := []struct{ name, code, want string }{
		{"atob", `[atob('aGk='), atob(' aGk '), (() => { try { atob('a'); } catch (e) { return e.name; } })()]`, `["hi","hi","InvalidCharacterError"]`},
		{"btoa", `[btoa('hi'), btoa('\xff'), (() => { try { btoa('\u0100'); } catch (e) { return e.name; } })()]`, `["aGk=","/w==","InvalidCharacterError"]`},
		{"TextEncoder", `[[...new TextEncoder().encode('aé€😀\ud800')], new TextEncoder().encodeInto('é€', new Uint8Array(4)), new TextEncoder().encoding]`, `[[97,195,169,226,130,172,240,159,152,128,239,191,189],{"read":1,"written":2},"utf-8"]`},
		{"TextDecoder", `[new TextDecoder().decode(new Uint8Array([239,187,191,97,195,169,226,130,172,240,159,152,128,255,226,130])), new TextDecoder('utf-16le').decode(new Uint8Array([104,0,105,0])), new TextDecoder('latin1').decode(new Uint8Array([233])), (() => { const d = new TextDecoder(); return d.decode(new Uint8Array([226,130]), { stream: true }) + d.decode(new Uint8Array([172])); })(), (() => { try { new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([255])); } catch (e) { return e.name; } })(), (() => { try { new TextDecoder('klingon'); } catch (e) { return e.name; } })()]`, `["aé€😀\ufffd\ufffd","hi","é","€","TypeError","RangeError"]`},
		{"URL", `(() => { const u = new URL('../b?x=1#h', 'https://user:pw@Example.com:8443/a/c/d'); u.searchParams.append('y', 'é &'); u.pathname = '/p q'; u.port = ''; return [u.href, u.origin, u.host, u.search, u.hash, JSON.stringify(u), URL.canParse('nope'), (() => { try { new URL('nope'); } catch (e) { return e.name + e.code; } })()]; })()`, `["https://user:pw@example.com/p%20q?x=1&y=%C3%A9+%26#h","https://example.com","example.com","?x=1&y=%C3%A9+%26","#h","\"https://user:pw@example.com/p%20q?x=1&y=%C3%A9+%26#h\"",false,"TypeErrorERR_INVALID_URL"]`},
		{"URLSearchParams", `(() => { const p = new URLSearchParams('?b=2&a=1&a=%2B+x&bad=%zz'); p.set('b', '3'); p.delete('bad'); p.sort(); return [p.toString(), p.get('a'), p.getAll('a'), p.has('b'), p.get('z'), p.size, [...new URLSearchParams({ k: 'v' })], String(new URLSearchParams([['m', '1']]))]; })()`, `["a=1&a=%2B+x&b=3","1",["1","+ x"],true,null,3,[["k","v"]],"m=1"]`},
		{"structuredClone", `(() => { const o = { d: new Date(5), m: new Map([[1, new Set([2])]]), r: /a/g, u: new Uint8Array([1]), n: null, e: new RangeError('x') }; o.self = o; const c = structuredClone(o); return [c.self === c, c.d.getTime(), c.m.get(1).has(2), String(c.r), c.u[0], c.e.name, c !== o, (() => { try { structuredClone(() => 1); } catch (e) { return e.name + e.code; } })()]; })()`, `[true,5,true,"/a/g",1,"RangeError",true,"DataCloneError25"]`},
		{"Event and EventTarget", `(() => { const t = new EventTarget(), seen = []; const f = (e) => seen.push(e.type + (e.target === t)); t.addEventListener('x', f); t.addEventListener('x', f); t.addEventListener('x', { handleEvent(e) { seen.push('obj'); e.preventDefault(); } }, { once: true }); const ok = t.dispatchEvent(new Event('x', { cancelable: true })); t.dispatchEvent(new CustomEvent('x', { detail: 1 })); t.removeEventListener('x', f); t.dispatchEvent(new Event('x')); return [seen, ok]; })()`, `[["xtrue","obj","xtrue"],false]`},
		{"AbortController", `(() => { const c = new AbortController(); let n = 0; c.signal.addEventListener('abort', () => n++); c.signal.onabort = () => n++; const any = AbortSignal.any([c.signal]); c.abort(); c.abort('again'); return [n, c.signal.aborted, c.signal.reason.name, any.aborted, AbortSignal.abort('r').reason, (() => { try { c.signal.throwIfAborted(); } catch (e) { return e.code; } })(), (() => { try { new AbortSignal(); } catch (e) { return e.message; } })()]; })()`, `[2,true,"AbortError",true,"r",20,"Illegal constructor"]`},
		{"DOMException", `(() => { const e = new DOMException('m', 'TimeoutError'); return [e.name, e.message, e.code, e instanceof Error]; })()`, `["TimeoutError","m",23,true]`},
		{"crypto", `[/^[0-9a-f-]{36}$/.test(crypto.randomUUID()), crypto.getRandomValues(new Uint16Array(2)).length, (() => { try { crypto.getRandomValues([]); } catch (e) { return e.name; } })(), new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode('abc'))).toHex().slice(0, 8), await crypto.subtle.digest('MD5', new Uint8Array()).catch((e) => e.message.slice(0, 40))]`, `[true,2,"TypeError","ba7816bf","crypto.subtle.digest: algorithm \"MD5\" is"]`},
		{"Blob", `(async () => { const b = new Blob(['aé', new Uint8Array([33]), new Blob(['?'])], { type: 'Text/Plain' }); return [b.size, b.type, await b.text(), await b.slice(0, 1).text(), (await b.arrayBuffer()).byteLength, new File(['x'], 'n.txt').name]; })()`, `[5,"text/plain","aé!?","a",5,"n.txt"]`},
		{"Headers", `(() => { const h = new Headers({ A: '1' }); h.append('a', '2'); h.set('B', ' x '); h.append('Set-Cookie', 'c=1'); h.append('set-cookie', 'd=2'); return [h.get('a'), [...h], h.getSetCookie(), h.has('c'), (() => { try { h.set('x', 'a\nb'); } catch (e) { return e.name; } })()]; })()`, `["1, 2",[["a","1, 2"],["b","x"],["set-cookie","c=1"],["set-cookie","d=2"]],["c=1","d=2"],false,"TypeError"]`},
		{"Request and Response", `(async () => { const r = new Request('http://a/b', { method: 'post', body: '{"x":1}' }); const s = Response.json({ a: 1 }, { status: 201 }); const c = s.clone(); return [r.method, await r.json(), s.status, s.ok, s.headers.get('content-type'), await s.json(), s.bodyUsed, await c.text(), await s.text().catch((e) => e.name), (() => { try { new Request('http://a', { body: 'x' }); } catch (e) { return e.name; } })()]; })()`, `["POST",{"x":1},201,true,"application/json",{"a":1},true,"{\"a\":1}","TypeError","TypeError"]`},
		{"FormData", `(() => { const f = new FormData(); f.append('a', 1); f.append('a', 2); f.set('b', 'x'); f.delete('c'); return [f.get('a'), f.getAll('a'), f.has('b'), [...f]]; })()`, `["1",["1","2"],true,[["a","1"],["a","2"],["b","x"]]]`},
		{"queueMicrotask", `new Promise((resolve) => queueMicrotask(() => resolve('ran')))`, `"ran"`},
		{"Promise resolved twice", `(async () => { let looked = 0; await new Promise((resolve) => { resolve(1); resolve({ get then() { looked++; } }); }); await new Promise((resolve, reject) => { reject(1); resolve({ get then() { looked++; } }); }).catch(() => {}); return looked; })()`, `0`},
		{"performance", `[typeof performance.now(), typeof performance.timeOrigin]`, `["number","number"]`},
		{"navigator", `navigator.userAgent`, `"Smithers-Gateway"`},
		{"process.env", `[process.env.ALLOWED, process.env.PATH ?? null, Object.keys(process.env)]`, `["yes",null,["ALLOWED"]]`},
		{"globalThis and self", `[globalThis === self, typeof window, typeof Deno, typeof Buffer]`, `[true,"undefined","undefined","undefined"]`},
		{"console", `[typeof console.log, typeof console.table]`, `["function","undefined"]`},
	}
	h := testHost(t, HostOptions{Env: map[string]string{"ALLOWED": "yes"}})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, code := range []string{"return " + test.code, "return ctx.task('t', async () => " + test.code + ")"} {
				d := runModule(t, h, code)
				d.result()
				require.JSONEq(t, test.want, string(d.done.Value))
				require.Empty(t, d.logs)
			}
		})
	}
}

func TestTimers(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `return ctx.task('t', async () => {
		const seen = [];
		const never = setTimeout(() => seen.push('never'), 5); clearTimeout(never);
		await new Promise((resolve) => setTimeout((a, b) => { seen.push(a + b); resolve(); }, 10, 'a', 'b'));
		let n = 0;
		await new Promise((resolve) => { const i = setInterval(() => { if (++n === 3) { clearInterval(i); resolve(); } }, 1); });
		seen.push(n);
		const s = AbortSignal.timeout(5);
		await new Promise((resolve) => s.addEventListener('abort', resolve));
		seen.push(s.reason.name);
		setTimeout(() => { throw new Error('in a timer'); }, 0);
		await new Promise((resolve) => setTimeout(resolve, 20));
		return seen;
	})`)
	require.Equal(t, []any{"ab", 3.0, "TimeoutError"}, d.result())
	require.Len(t, d.logs, 1)
	require.Contains(t, d.logs[0], "uncaught error in a callback: Error: in a timer")
}

func TestFetch(t *testing.T) {
	block := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			b, _ := io.ReadAll(r.Body)
			w.Header().Set("X-Method", r.Method)
			w.Header().Add("Set-Cookie", "a=1")
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, "%s|%s|%s|%s", r.Header.Get("Content-Type"), r.Header.Get("X-Custom"), r.UserAgent(), b)
		case "/bytes":
			_, _ = w.Write([]byte{0, 255, 1})
		case "/redirect":
			http.Redirect(w, r, "/bytes", http.StatusFound)
		case "/slow":
			select {
			case <-block:
			case <-r.Context().Done():
			}
		case "/big":
			_, _ = w.Write([]byte(strings.Repeat("x", maxResponse+1)))
		}
	}))
	defer server.Close()
	defer close(block)
	h := testHost(t, HostOptions{Env: map[string]string{"BASE": server.URL}})
	d := runModule(t, h, `const base = process.env.BASE;
	return ctx.task('t', async (task) => {
		const post = await fetch(base + '/echo', { method: 'POST', headers: { 'X-Custom': 'c' }, body: 'hé' });
		const form = await fetch(new Request(base + '/echo', { method: 'PUT', body: new URLSearchParams({ a: '1' }) }));
		const bytes = await fetch(new URL('/bytes', base));
		const followed = await fetch(base + '/redirect');
		const manual = await fetch(base + '/redirect', { redirect: 'manual' });
		const controller = new AbortController();
		setTimeout(() => controller.abort(new Error('enough')), 10);
		const aborted = await fetch(base + '/slow', { signal: controller.signal }).catch((e) => e.message);
		const timeout = await fetch(base + '/slow', { signal: AbortSignal.timeout(10) }).catch((e) => e.name);
		const refused = await fetch('http://127.0.0.1:1/').catch((e) => e.name + ' ' + e.code);
		const scheme = await fetch('file:///etc/passwd').catch((e) => e.message);
		const big = await fetch(base + '/big').catch((e) => e.code);
		const both = await Promise.all([fetch(base + '/bytes'), fetch(base + '/bytes')]);
		return { status: post.status, text: await post.text(), method: post.headers.get('x-method'), cookie: post.headers.getSetCookie(), form: await form.text(),
			bytes: [...new Uint8Array(await bytes.arrayBuffer())], redirected: followed.redirected && followed.url.endsWith('/bytes'), manual: manual.status,
			aborted, timeout, refused, scheme, big, both: both.map((r) => r.ok) };
	})`)
	require.Equal(t, map[string]any{
		"status": 201.0, "text": "text/plain;charset=UTF-8|c|Smithers-Gateway|hé", "method": "POST", "cookie": []any{"a=1"},
		"form": "application/x-www-form-urlencoded;charset=UTF-8||Smithers-Gateway|a=1", "bytes": []any{0.0, 255.0, 1.0}, "redirected": true,
		"manual": 302.0, "aborted": "enough", "timeout": "TimeoutError", "refused": "TypeError FETCH_FAILED",
		"scheme": `fetch: scheme "file" is not supported, use http or https`, "big": "FETCH_TOO_LARGE", "both": []any{true, true},
	}, d.result())
}

func TestAbortReachesTheTask(t *testing.T) {
	started := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		started <- struct{}{}
		<-r.Context().Done()
	}))
	defer server.Close()
	h := testHost(t, HostOptions{Env: map[string]string{"BASE": server.URL}})
	m := load(t, h, "w.mjs", body(`await ctx.task('t', async (task) => {
		task.signal.addEventListener('abort', () => task.log('aborted: ' + task.signal.reason.message));
		await fetch(process.env.BASE).catch((e) => task.log('fetch: ' + e.name));
	});`))
	d := newDriver(t, m, "w")
	turn, err := d.machine.Start(d.input)
	require.NoError(t, err)
	ref := turn.Ops[0].(program.Request).Ref
	_, err = d.machine.Attempt(program.Attempt{Ref: ref, Number: 1, Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
	require.NoError(t, err)
	<-started
	require.Len(t, d.machine.(*machine).operations.parents, 1)
	turn, err = d.machine.Abort(ref, 1, &program.Failure{Message: "too slow", Code: program.CodeTaskTimeout})
	require.NoError(t, err)
	require.Equal(t, "aborted: too slow", turn.Ops[0].(program.Output).Text)
	require.Empty(t, d.machine.(*machine).operations.parents, "an aborted attempt may never end")
	select {
	case e := <-d.events:
		turn, err = d.machine.Deliver(e)
	case <-time.After(time.Minute):
		t.Fatal("the request was not cancelled")
	}
	require.NoError(t, err)
	require.Equal(t, "fetch: AbortError", turn.Ops[0].(program.Output).Text)
}

func TestExec(t *testing.T) {
	h := testHost(t, HostOptions{Exec: []string{"sh", "cat"}, Env: map[string]string{"SEEN": "s"}})
	d := runModule(t, h, `return ctx.task('t', async () => {
		const cat = await exec('cat', [], { input: 'hello' });
		const env = await exec('sh', ['-c', 'echo $SEEN $MORE; echo err >&2; exit 3'], { env: { MORE: 1 }, stream: true });
		const denied = await exec('ls').catch((e) => [e.code, e.message, e.noRetry]);
		const slow = await exec('sh', ['-c', 'exec sleep 5'], { timeoutMs: 20 }).catch((e) => e.code);
		const c = new AbortController(); setTimeout(() => c.abort(new Error('stop')), 5);
		const aborted = await exec('sh', ['-c', 'exec sleep 5'], { signal: c.signal }).catch((e) => e.message);
		return { cat, env, denied, slow, aborted };
	})`)
	require.Equal(t, map[string]any{
		"cat": map[string]any{"exitCode": 0.0, "stdout": "hello", "stderr": ""}, "env": map[string]any{"exitCode": 3.0, "stdout": "s 1\n", "stderr": "err\n"},
		"denied": []any{"EXEC_NOT_ALLOWED", `exec: program "ls" is not in the gateway's exec list (allowed: sh, cat)`, true},
		"slow":   "EXEC_TIMEOUT", "aborted": "stop",
	}, d.result())
	var streamed []string
	for _, op := range d.ops {
		if o, ok := op.(program.Output); ok {
			streamed = append(streamed, o.Stream+":"+o.Text)
		}
	}
	require.ElementsMatch(t, []string{"stdout:s 1\n", "stderr:err\n"}, streamed)
}
