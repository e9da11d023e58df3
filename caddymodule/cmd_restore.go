package caddymodule

import (
	"fmt"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/smithersai/caddy-smithers/gateway"
)

func restoreCommand() caddycmd.Command {
	return caddycmd.Command{
		Name:  "restore",
		Usage: "[--db <file>] <backup>",
		Short: "Puts a backup in place of the gateway's database",
		Long: `
Replaces the database by a backup while no gateway runs on it; the former one stays
beside it, with .before-restore behind its name. The numbers of events go on 1,000,000
higher, so that a client with an older cursor is told what it missed. A backup of two
files (see backup) is restored as such, by the name of the first. The database is
the one of --db, else of SMITHERS_DB_PATH, else ` + gateway.DefaultDBPath + `.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Args = cobra.ExactArgs(1)
			cmd.Flags().String("db", "", "database `file`")
			cmd.RunE = runE(restore)
		},
	}
}

func restore(cmd *cobra.Command, args []string) error {
	from, to := args[0], databasePath(cmd)
	files, err := gateway.RestoreFile(cmd.Context(), from, to)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "restored %s from %s\n", strings.Join(files, " and "), from)
	return nil
}
