//go:build !linux

package documents

// nftables are Linux's, and so is TestFirewall.
const envFirewall = "SMITHERS_TEST_FIREWALL"

func insideFirewall() int { return 1 }
