package caddymodule

import (
	"fmt"
	"os"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/smithersai/caddy-smithers/gateway"
)

func backupCommand() caddycmd.Command {
	return caddycmd.Command{
		Name:  "backup",
		Usage: "[--db <file>] <destination>",
		Short: "Copies the gateway's database while it works",
		Long: `
Writes a consistent copy of the database to a file, which it replaces. The gateway may
run or not. With a Smithers process there are two databases, and two files are
written: the destination and, with .gateway before its extension, the gateway's own.
The database is the one of --db, else of SMITHERS_DB_PATH, else ` + gateway.DefaultDBPath + `.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Args = cobra.ExactArgs(1)
			cmd.Flags().String("db", "", "database `file`")
			cmd.RunE = runE(backup)
		},
	}
}

func backup(cmd *cobra.Command, args []string) error {
	from, dest := databasePath(cmd), args[0]
	err := gateway.BackupFile(cmd.Context(), from, dest, progressLine())
	if err != nil {
		return err
	}
	for _, file := range gateway.BackupFiles(dest) {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "copied %s to %s, %d bytes\n", from, file, info.Size())
	}
	return nil
}

// databasePath is the database that a command works on.
func databasePath(cmd *cobra.Command) string {
	if path, _ := cmd.Flags().GetString("db"); path != "" {
		return path
	}
	if path := os.Getenv(gateway.EnvDBPath); path != "" {
		return path
	}
	return gateway.DefaultDBPath
}

// progressLine shows how far a copy is, if somebody watches.
func progressLine() func(done, total int) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil
	}
	var last time.Time
	return func(done, total int) {
		if done < total && time.Since(last) < 100*time.Millisecond || total == 0 {
			return
		}
		last = time.Now()
		fmt.Fprintf(os.Stderr, "\r%3d %%", 100*done/total)
		if done >= total {
			fmt.Fprint(os.Stderr, "\r")
		}
	}
}
