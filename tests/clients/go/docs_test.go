// What an editor shows: each name that a package exports says what it is.
package main

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

func TestEachExportSaysWhatItIs(t *testing.T) {
	source := filepath.Join(environment(t, "RATELIMIT_CLIENT_TESTS"), "..", "..", "clients", "go")
	count := 0
	says := func(what, comment string) {
		count++
		if strings.TrimSpace(comment) == "" {
			t.Errorf("%s has no comment", what)
		}
	}
	for _, dir := range []string{".", "echo", "gin", "grpc", "ulule"} {
		packages, err := parser.ParseDir(token.NewFileSet(), filepath.Join(source, dir), func(file fs.FileInfo) bool {
			return !strings.HasSuffix(file.Name(), "_test.go")
		}, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, parsed := range packages {
			said := doc.New(parsed, dir, 0)
			says("package "+said.Name, said.Doc)
			functions := func(of string, list []*doc.Func) {
				for _, one := range list {
					says(of+one.Name, one.Doc)
				}
			}
			values := func(list []*doc.Value) {
				for _, one := range list {
					for _, spec := range one.Decl.Specs {
						if value, isValue := spec.(*ast.ValueSpec); isValue && value.Names[0].IsExported() {
							says(value.Names[0].Name, one.Doc+value.Doc.Text()+value.Comment.Text())
						}
					}
				}
			}
			functions("", said.Funcs)
			values(said.Consts)
			values(said.Vars)
			for _, one := range said.Types {
				says(one.Name, one.Doc)
				functions(one.Name+".", one.Methods)
				functions("", one.Funcs)
				values(one.Consts)
				values(one.Vars)
			}
		}
	}
	if count < 80 {
		t.Errorf("%d exports", count)
	}
}
