package jsmod

// The host keeps one VM that holds the prelude and no module. It serves the next run that
// finds no VM of its module ready, of whatever module, and is made anew where the pool
// makes others: behind the first steps of that run.

// takeSpare returns that VM, nil when there is none.
func (h *Host) takeSpare() *VM {
	h.mu.Lock()
	defer h.mu.Unlock()
	vm := h.spare
	h.spare = nil
	return vm
}

// keepSpare makes a VM without a module the spare one, and reports whether it wanted it.
func (h *Host) keepSpare(vm *VM) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.spare != nil || !h.memory.fits() {
		return false
	}
	h.spare = vm
	return true
}

// lacksSpare reports whether a VM without a module would be kept.
func (h *Host) lacksSpare() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.closed && h.spare == nil
}

// renewSpare makes the spare VM if there is none.
func (h *Host) renewSpare() {
	if !h.lacksSpare() {
		return
	}
	if vm, err := h.newVM(); err == nil && !h.keepSpare(vm) {
		vm.close()
	}
}

// dropSpare frees the spare VM.
func (h *Host) dropSpare() {
	if vm := h.takeSpare(); vm != nil {
		vm.close()
	}
}

// strip takes the module out of a VM that was saved without one, and the copy with it.
func (vm *VM) strip() bool {
	if !vm.resettable() || vm.reset() != nil {
		return false
	}
	vm.unsave()
	return true
}
