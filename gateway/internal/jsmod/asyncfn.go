package jsmod

import "strings"

// asyncHelper is the bundler's helper that drives a lowered async function, as it stands
// in a bundle and in the body of a bundle with top-level await.
const asyncHelper = `var __async = (__this, __arguments, generator) => {
  return new Promise((resolve, reject) => {
    var fulfilled = (value) => {
      try {
        step(generator.next(value));
      } catch (e) {
        reject(e);
      }
    };
    var rejected = (value) => {
      try {
        step(generator.throw(value));
      } catch (e) {
        reject(e);
      }
    };
    var step = (x) => x.done ? resolve(x.value) : Promise.resolve(x.value).then(fulfilled, rejected);
    step((generator = generator.apply(__this, __arguments)).next());
  });
};`

// ownAsync puts the prelude's driver of async functions in the place of the bundler's
// helper. Lines stay where they are, for the source map. A bundle without the helper is
// left alone; so is the text of one in the module's own code, which follows the helpers.
func ownAsync(source string) string {
	helper := strings.ReplaceAll(asyncHelper, "\n", "\n  ")
	i := strings.Index(source, helper)
	if i < 0 || strings.Contains(source[:i], "\n  // ") {
		return source
	}
	return source[:i] + "var __async = __smithersModule.async;" + strings.Repeat("\n", strings.Count(helper, "\n")) + source[i+len(helper):]
}
