package objects

import "slices"

// PrunedPaths are the steps of every pruned path of a kind, braces expanded.
func PrunedPaths(kind Kind) ([][]string, error) {
	tree, err := parsePrune(append(Everywhere(), kind.Prune...)...)
	if err != nil {
		return nil, err
	}
	return tree.leaves(), nil
}

// ParseTime is the parser of API timestamps.
func ParseTime(text string) (Time, bool) { return parseTime([]byte(text)) }

// leaves lists the full paths of the tree, sorted: one for each value that is dropped.
func (p *prune) leaves() [][]string {
	if p == nil {
		return nil
	}
	if p.drop {
		return [][]string{nil}
	}
	var all [][]string
	for name, child := range p.fields {
		for _, tail := range child.leaves() {
			all = append(all, append([]string{name}, tail...))
		}
	}
	slices.SortFunc(all, slices.Compare)
	return all
}
