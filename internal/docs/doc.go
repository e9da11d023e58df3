// Package docs holds what is true of every document of this repository: links lead
// somewhere, and commands and code in fences are run, parsed, or say why not. It consists
// of tests.
package docs
