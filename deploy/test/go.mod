module github.com/smithersai/caddy-smithers/deploy/test

go 1.26.0

require (
	github.com/compose-spec/compose-go/v2 v2.16.2
	github.com/smithersai/caddy-smithers v0.0.0
	github.com/stretchr/testify v1.11.1
	k8s.io/api v0.37.2
	k8s.io/apimachinery v0.37.2
	k8s.io/pod-security-admission v0.37.2
	sigs.k8s.io/kustomize/api v0.21.3
	sigs.k8s.io/kustomize/kyaml v0.21.3
	sigs.k8s.io/yaml v1.6.0
)

replace github.com/smithersai/caddy-smithers => ../..
