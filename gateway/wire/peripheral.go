package wire

import "encoding/json"

// TokenUsage is the result of listRunTokenUsage. Nil events are sent as [].
type TokenUsage struct {
	RunID  string          `json:"runId"`
	Events []TokenUsageRow `json:"events"`
}

// MarshalJSON sends nil events as [].
func (u TokenUsage) MarshalJSON() ([]byte, error) {
	type plain TokenUsage
	u.Events = list(u.Events)
	return json.Marshal(plain(u))
}

// Happened is the result of whatHappened.
type Happened struct {
	RunID         string  `json:"runId"`
	NodeID        *string `json:"nodeId"`
	Iteration     *int    `json:"iteration"`
	Scope         string  `json:"scope"` // run or node
	Summary       string  `json:"summary"`
	AgentID       *string `json:"agentId"`
	Source        string  `json:"source"` // facts: this gateway has no narrator
	Cached        bool    `json:"cached"`
	GeneratedAtMs int64   `json:"generatedAtMs"`
}

// SchemaSignature is the result of getSchemaSignature.
type SchemaSignature struct {
	SchemaVersion string            `json:"schemaVersion"` // four digits
	Signature     string            `json:"signature"`     // SHA-256 hex
	Components    map[string]string `json:"components"`    // by table, SHA-256 hex
}

// DocRow is one document of listDocs.
type DocRow struct {
	Path        string  `json:"path"`
	Kind        string  `json:"kind"`
	Content     string  `json:"content"`
	ContentHash string  `json:"contentHash"` // SHA-256 hex
	Status      *string `json:"status"`
	UpdatedAtMs int64   `json:"updatedAtMs"`
	DeletedAtMs *int64  `json:"deletedAtMs"`
}

// TicketRow is one ticket.
type TicketRow struct {
	Path        string  `json:"path"`
	Kind        string  `json:"kind"`
	Content     string  `json:"content"`
	ContentHash string  `json:"contentHash"` // SHA-256 hex
	Status      *string `json:"status"`
	UpdatedAtMs int64   `json:"updatedAtMs"`
}

// TicketDeleted is the result of deleteTicket.
type TicketDeleted struct {
	Path    string `json:"path"`
	Deleted bool   `json:"deleted"`
}

// PromptRow is one prompt file of the workspace.
type PromptRow struct {
	ID          string `json:"id"`        // path below the prompts without extension
	EntryFile   string `json:"entryFile"` // "prompts/…"
	Source      string `json:"source"`
	CreatedAtMs int64  `json:"createdAtMs,omitempty"`
	UpdatedAtMs int64  `json:"updatedAtMs,omitempty"`
}

// MemoryFactRow is one fact of listMemoryFacts.
type MemoryFactRow struct {
	Namespace   string  `json:"namespace"`
	Key         string  `json:"key"`
	ValueJSON   string  `json:"valueJson"`
	SchemaSig   *string `json:"schemaSig"`
	CreatedAtMs int64   `json:"createdAtMs"`
	UpdatedAtMs int64   `json:"updatedAtMs"`
	TTLMs       *int64  `json:"ttlMs"`
}

// ScoreRow is one score of listScores.
type ScoreRow struct {
	RunID       string   `json:"runId"`
	NodeID      string   `json:"nodeId"`
	Iteration   int      `json:"iteration"`
	Attempt     int      `json:"attempt"`
	ScorerID    string   `json:"scorerId"`
	ScorerName  string   `json:"scorerName"`
	Source      string   `json:"source"` // live or batch
	Score       float64  `json:"score"`
	Reason      *string  `json:"reason"`
	ScoredAtMs  int64    `json:"scoredAtMs"`
	LatencyMs   *float64 `json:"latencyMs"`
	DurationMs  *float64 `json:"durationMs"`
	ScoreID     string   `json:"scoreId,omitempty"` // listScoresForRuns and getScoreDetail
	*ScoreExtra          // getScoreDetail
}

// ScoreExtra is what only getScoreDetail shows: decoded JSON, or null.
type ScoreExtra struct {
	Meta        json.RawMessage `json:"meta"`
	Input       json.RawMessage `json:"input"`
	Output      json.RawMessage `json:"output"`
	GroundTruth json.RawMessage `json:"groundTruth"`
	Context     json.RawMessage `json:"context"`
}

// ScorePage is the result of listScoresForRuns. Nil rows are sent as [].
type ScorePage struct {
	Rows  []ScoreRow `json:"rows"`
	Total int        `json:"total"`
}

// MarshalJSON sends nil rows as [].
func (p ScorePage) MarshalJSON() ([]byte, error) {
	type plain ScorePage
	p.Rows = list(p.Rows)
	return json.Marshal(plain(p))
}

// AccountRow is one account of a model provider. It never holds a key.
type AccountRow struct {
	Label        string  `json:"label"`
	Provider     string  `json:"provider"` // one of Providers
	ConfigDir    *string `json:"configDir"`
	HasConfigDir bool    `json:"hasConfigDir"`
	HasAPIKey    bool    `json:"hasApiKey"`
	Model        *string `json:"model"`
	AddedAt      *string `json:"addedAt"`
}

// Providers of accounts.
func Providers() []string {
	return []string{"claude-code", "antigravity", "codex", "gemini", "kimi", "anthropic-api", "openai-api", "gemini-api"}
}

// UsageReport tells how much of an account's quota is used. Nil windows are sent
// as [].
type UsageReport struct {
	AccountLabel string        `json:"accountLabel"`
	Provider     string        `json:"provider"`
	AuthMode     string        `json:"authMode"` // subscription or api-key
	Source       string        `json:"source"`   // oauth, headers, local or none
	Windows      []UsageWindow `json:"windows"`
	PlanType     string        `json:"planType,omitempty"`
	Credits      *UsageCredits `json:"credits,omitempty"`
	FetchedAt    string        `json:"fetchedAt"` // ISO 8601
	Stale        bool          `json:"stale"`
	Estimate     bool          `json:"estimate"`
	Error        string        `json:"error,omitempty"`
}

// MarshalJSON sends nil windows as [].
func (r UsageReport) MarshalJSON() ([]byte, error) {
	type plain UsageReport
	r.Windows = list(r.Windows)
	return json.Marshal(plain(r))
}

// UsageWindow is one quota of an account.
type UsageWindow struct {
	ID          string   `json:"id"`
	Label       string   `json:"label"`
	Unit        string   `json:"unit"` // percent, count or estimated
	UsedPercent *float64 `json:"usedPercent,omitempty"`
	Used        *float64 `json:"used,omitempty"`
	Limit       *float64 `json:"limit,omitempty"`
	Remaining   *float64 `json:"remaining,omitempty"`
	ResetsAt    string   `json:"resetsAt,omitempty"`
}

// UsageCredits is what an account has beyond its plan.
type UsageCredits struct {
	HasCredits bool   `json:"hasCredits"`
	Unlimited  bool   `json:"unlimited"`
	Balance    string `json:"balance,omitempty"` // as the provider writes it
}

// BrowserClosed is the result of closeBrowserSession.
type BrowserClosed struct {
	Closed    bool   `json:"closed"`
	SessionID string `json:"sessionId,omitempty"`
}
