// Command openmetrics reads an exposition in the OpenMetrics format from standard input with the parser that Prometheus
// scrapes with. It prints the number of series, or says what is wrong and exits with 1.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

func main() {
	n, err := count(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "openmetrics:", err)
		os.Exit(1)
	}
	fmt.Println(n)
}

// count parses everything that there is to parse, and counts the series.
func count(in io.Reader) (int, error) {
	text, err := io.ReadAll(in)
	if err != nil {
		return 0, err
	}
	parser, err := textparse.New(text, "application/openmetrics-text; version=1.0.0; charset=utf-8", labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		return 0, err
	}
	for n := 0; ; {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("behind %d series: %w", n, err)
		}
		if entry == textparse.EntrySeries {
			var l labels.Labels
			parser.Labels(&l)
			if name, twice := l.HasDuplicateLabelNames(); twice {
				return n, fmt.Errorf("series %d has the label %s twice: %s", n+1, name, l)
			}
			if !l.IsValid(model.LegacyValidation) {
				return n, fmt.Errorf("series %d has a name or a label that is not valid: %s", n+1, l)
			}
			n++
		}
	}
}
