// Package gateway is the Smithers Gateway without a web server around it.
package gateway
