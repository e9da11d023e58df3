package wire

// CronRemoved is the result of cronDelete.
type CronRemoved struct {
	CronID  string `json:"cronId"`
	Removed bool   `json:"removed"`
}

// Methods of schedules besides MethodCronRun.
const (
	MethodCronList   = "cronList"
	MethodCronCreate = "cronCreate"
	MethodCronDelete = "cronDelete"
)

// CronOfWorkflow is the id of a workflow's own schedule.
func CronOfWorkflow(key string) string { return "gateway:" + key }
