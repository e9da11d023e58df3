package jsmod

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Chunks are compiled when they are needed: each can be.
func TestChunksCompile(t *testing.T) {
	p, err := compilePrelude()
	require.NoError(t, err)
	require.NotEmpty(t, p.chunks)
	for name, compiled := range p.chunks {
		code, err := compiled()
		require.NoError(t, err, name)
		require.NotEmpty(t, code, name)
	}
}
