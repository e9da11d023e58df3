package quickjs

import "testing"

// BenchmarkCall calls a function that calls the host, with a text each way.
func BenchmarkCall(b *testing.B) {
	vm := testVM(b, func(args []any) (any, error) { return args[0], nil })
	host, err := vm.HostFunction()
	if err != nil {
		b.Fatal(err)
	}
	f, err := vm.CallValue(load(b, vm, `(host => text => host(text))`), host)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := vm.Call(f, "a line of some output"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReset puts back a VM with nothing but the language in it.
func BenchmarkReset(b *testing.B) {
	vm := testVM(b, nil)
	if err := vm.Snapshot(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(vm.Footprint() / 2)
	b.ReportAllocs()
	for b.Loop() {
		if err := vm.Reset(); err != nil {
			b.Fatal(err)
		}
	}
}
