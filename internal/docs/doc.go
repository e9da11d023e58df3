// Package docs holds what is true of every document of this repository: links lead
// somewhere, and every block of commands, code or configuration is taken from the document
// by the test that its mark names. Tests of all packages get their blocks from it.
package docs
