package quickjs

import (
	"math"
	"math/bits"
	"unsafe"
)

// Small blocks are cut from chunks and reused by size class; larger ones are mapped
// each by itself and returned when they are freed. The engine pools what is below 512
// bytes on its own, in pieces of 4 KiB.
const (
	chunkSize  = 256 << 10
	maxSmall   = 32 << 10
	headerSize = 8 // before each block: its size << 8 | its class
	largeClass = 0xff
	pageSize   = 4 << 10
)

// Classes: steps of 64 bytes up to 1 KiB, then eight to each doubling.
const (
	fineStep    = 64
	fineClasses = 1<<10/fineStep + 1 // 0 to 1 KiB
	classes     = fineClasses + 5*8  // up to maxSmall
)

// arena is the memory of one VM. It is used by one goroutine at a time.
type arena struct {
	layout
	chunks []uintptr
	large  map[uintptr]uintptr // sizes of the blocks mapped by themselves, headers included
	saved  *snapshot
	most   uintptr // bytes of chunks in use and large blocks together; 0: no bound
	backed uintptr // offset in the last chunk up to which pages were asked for ahead
}

// layout is what a snapshot has to keep of an arena beside the memory itself.
type layout struct {
	free    [classes]uintptr // lists of freed blocks, linked through their first word
	used    int              // chunks in use; further ones are kept for the next growth
	top     uintptr          // offset of the first unused byte in the last chunk in use
	largest uintptr          // bytes of large blocks, freed ones of a snapshot included
}

// word is the machine word at an address outside of Go's heap.
func word(p uintptr) *uintptr { return *(**uintptr)(unsafe.Pointer(&p)) }

// memory is n bytes at an address outside of Go's heap.
func memory(p, n uintptr) []byte {
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&p)), n)
}

// header is the word before a block. It has 64 bits everywhere, for the alignment.
func header(block uintptr) *uint64 {
	p := block - headerSize
	return *(**uint64)(unsafe.Pointer(&p))
}

// classOf returns the class of a small size and the size of its blocks.
func classOf(size uintptr) (class int, blockSize uintptr) {
	if size <= 1<<10 {
		class = int((size + fineStep - 1) / fineStep)
		return class, uintptr(max(class, 1)) * fineStep
	}
	log := bits.Len(uint(size-1)) - 1 // 2^log < size <= 2^(log+1)
	step := uintptr(1) << (log - 3)
	n := (size - 1<<log + step - 1) / step // 1 to 8
	return fineClasses + (log-10)*8 + int(n) - 1, 1<<log + n*step
}

// alloc returns a block of at least size bytes, 0 when the system gives no more.
func (a *arena) alloc(size uintptr) uintptr {
	if size > maxSmall {
		return a.allocLarge(size)
	}
	class, n := classOf(size)
	if p := a.free[class]; p != 0 {
		a.free[class] = *word(p)
		return p
	}
	need := n + headerSize
	if a.used == 0 || a.top+need > chunkSize {
		if !a.grow() {
			return 0
		}
	}
	p := a.chunks[a.used-1] + a.top + headerSize
	if a.top += need; a.top > a.backed {
		a.back()
	}
	*header(p) = uint64(n)<<8 | uint64(class)
	return p
}

// back asks for the next pages of the last chunk at once, which takes a fraction of what
// as many page faults do. It must not make small VMs larger: their first chunk is always
// filled, and of the second they have the pages one by one.
func (a *arena) back() {
	from, step := a.backed, uintptr(64<<10)
	switch a.used {
	case 1:
		step = chunkSize
	case 2:
		a.backed = chunkSize
		return
	}
	a.backed = min(max(from+step, (a.top+pageSize-1)&^(pageSize-1)), chunkSize)
	backPages(a.chunks[a.used-1]+from, a.backed-from)
}

// room reports whether n more bytes may be touched. The engine's own count does not tell:
// blocks that were freed serve later ones of their class only.
func (a *arena) room(n uintptr) bool {
	return a.most == 0 || a.largest+uintptr(a.used)*chunkSize+n <= a.most
}

// grow takes another chunk. What is left of the last one becomes a free block, if it
// is worth one.
func (a *arena) grow() bool {
	if !a.room(chunkSize) {
		return false
	}
	fresh := a.used == len(a.chunks)
	if fresh {
		p, err := mapPages(chunkSize)
		if err != nil {
			return false
		}
		a.chunks = append(a.chunks, p)
	}
	if a.used > 0 {
		for rest := chunkSize - a.top; rest >= pageSize+headerSize; rest = chunkSize - a.top {
			size := min(rest-headerSize, maxSmall)
			class, n := classOf(size)
			if n > size { // the class below is the largest that fits
				class--
				n -= (uintptr(1) << (bits.Len(uint(size-1)) - 1)) / 8
			}
			p := a.chunks[a.used-1] + a.top + headerSize
			*header(p) = uint64(n)<<8 | uint64(class)
			a.top += n + headerSize
			a.release(p)
		}
	}
	a.used++
	a.top = 0
	if a.backed = 0; !fresh {
		a.backed = chunkSize
	}
	return true
}

func (a *arena) allocLarge(size uintptr) uintptr {
	if size > math.MaxInt/2 { // what follows must not overflow; the system refuses the rest
		return 0
	}
	// Room to grow by an eighth, so that a block which grows step by step moves seldom.
	n := (size + size/8 + headerSize + pageSize - 1) &^ (pageSize - 1)
	if !a.room(n) {
		return 0
	}
	base, err := mapPages(n)
	if err != nil {
		return 0
	}
	if a.large == nil {
		a.large = map[uintptr]uintptr{}
	}
	a.large[base] = n
	a.largest += n
	p := base + headerSize
	*header(p) = uint64(n-headerSize)<<8 | largeClass
	return p
}

// release takes a block back. A large one that belongs to the snapshot keeps its
// place until that is dropped, since Reset needs the address.
func (a *arena) release(p uintptr) {
	h := *header(p)
	if class := h & 0xff; class != largeClass {
		*word(p) = a.free[class]
		a.free[class] = p
		return
	}
	base := p - headerSize
	if held := a.saved.find(base); held != nil {
		held.freed = true
		return
	}
	a.unmap(base)
}

// unmap returns a large block to the system.
func (a *arena) unmap(base uintptr) {
	n := a.large[base]
	delete(a.large, base)
	a.largest -= n
	unmapPages(base, n)
}

// sizeOf is how much of a block may be used.
func (a *arena) sizeOf(p uintptr) uintptr { return uintptr(*header(p) >> 8) }

// footprint is the memory that the arena has touched, its snapshot included.
func (a *arena) footprint() uintptr {
	n := a.largest
	if a.used > 0 {
		n += uintptr(a.used-1)*chunkSize + a.top
	}
	return n + a.saved.size()
}

// destroy returns everything to the system.
func (a *arena) destroy() {
	for _, p := range a.chunks {
		unmapPages(p, chunkSize)
	}
	for p, n := range a.large {
		unmapPages(p, n)
	}
	a.saved.destroy()
	*a = arena{}
}
