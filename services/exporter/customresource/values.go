package customresource

import "github.com/headwater-metrics/headwater/services/exporter/collector"

// values gathers the series of a metric from its target, which is nil where the path leads to nothing.
func (r *renderer) values(e *each, target *node) {
	switch e.kind {
	case collector.Gauge:
		r.gauge(e, target)
	case collector.Info:
		r.info(e, target)
	case collector.StateSet:
		if target != nil && target.kind == list {
			elements := r.tree.of(target)
			for i := range elements {
				if !r.states(e, some(&elements[i])) {
					return
				}
			}
		} else {
			r.states(e, target)
		}
	}
}

// emit ends a series, whose labels were gathered since from. It tells whether there is room for more.
func (r *renderer) emit(from int, value float64) bool {
	if !r.take(seriesSize) {
		return false
	}
	r.settle(from)
	r.series = append(r.series, series{value, from, len(r.labels)})
	return true
}

// gauge gathers a series of each element of a list or a mapping, or of the target itself.
func (r *renderer) gauge(e *each, target *node) {
	switch {
	case target != nil && target.kind == mapping:
		r.gaugeOfMapping(e, target)
	case target != nil && target.kind == list:
		elements := r.tree.of(target)
		for i := range elements {
			if !r.gaugeOf(e, some(&elements[i])) {
				return
			}
		}
	default:
		r.gaugeOf(e, target)
	}
}

// gaugeOf gathers the series of one value, if it leads to a number. A number that isn't there is no error, but where the
// value isn't there itself.
func (r *renderer) gaugeOf(e *each, n *node) (room bool) {
	value, found, err := r.number(e, n)
	if err != nil || !found && n == nil {
		r.skipped++
		return true
	}
	if !found {
		return true
	}
	from := len(r.labels)
	r.add(&e.labels, n)
	return r.emit(from, value)
}

// number is what valueFrom leads to from n, and whether it leads anywhere.
func (r *renderer) number(e *each, n *node) (value float64, found bool, err error) {
	at := r.resolve(e.valueFrom, n)
	if at == nil {
		return 0, e.nilIsZero, nil
	}
	value, err = toFloat(at)
	return value, true, err
}

// gaugeOfMapping gathers the series of a mapping: of its value under valueFrom, if that is one of its keys, and of each of
// its other values that leads to a number itself. The labels are taken from the value, and then from the mapping. What is no
// number there isn't even counted, since a mapping mostly holds other things too.
func (r *renderer) gaugeOfMapping(e *each, target *node) {
	children := r.tree.of(target)
	var shared []label // of the mapping, gathered once
	gathered := false
	for i := range children {
		child := &children[i]
		var value float64
		if e.direct != "" && child.key == e.direct {
			var err error
			if value, err = r.direct(e, some(child)); err != nil {
				r.skipped++
				continue
			}
		} else {
			v, found, err := r.number(e, some(child))
			if !found || err != nil {
				continue
			}
			value = v
		}
		if !gathered {
			start := len(r.labels)
			r.add(&e.labels, target)
			shared, gathered = r.labels[start:], true
		}
		from := len(r.labels)
		if child.key != "" && e.labelFromKey != "" {
			r.set(e.labelFromKey, child.key)
		}
		r.add(&e.labels, some(child))
		if r.take(len(shared) * labelSize) {
			r.labels = append(r.labels, shared...)
		}
		if !r.emit(from, value) {
			return
		}
	}
}

func (r *renderer) direct(e *each, n *node) (float64, error) {
	if n == nil && e.nilIsZero {
		return 0, nil
	}
	return toFloat(n)
}

// info gathers a series of each element of a list or a mapping, and of a mapping or another value itself; each if it has
// labels.
func (r *renderer) info(e *each, target *node) {
	if target == nil {
		return
	}
	switch children := r.tree.of(target); target.kind {
	case list:
		for i := range children {
			if n := some(&children[i]); n != nil && !r.infoOf(e, n, "") {
				return
			}
		}
		return
	case mapping:
		for i := range children {
			if !r.infoOf(e, some(&children[i]), children[i].key) {
				return
			}
		}
	}
	r.infoOf(e, target, "")
}

// infoOf gathers the series of one value, which is under key in a mapping.
func (r *renderer) infoOf(e *each, n *node, key string) (room bool) {
	from := len(r.labels)
	if key != "" && e.labelFromKey != "" {
		r.set(e.labelFromKey, key)
	}
	r.add(&e.labels, n)
	if len(r.labels) == from {
		return r.room >= 0
	}
	return r.emit(from, 1)
}

// states gathers the series of one value of a state set, if it leads to a text.
func (r *renderer) states(e *each, n *node) (room bool) {
	value := r.resolve(e.valueFrom, n)
	if value == nil || value.kind != text {
		r.skipped++
		return true
	}
	for _, state := range e.list {
		from := len(r.labels)
		r.set(e.labelName, state)
		r.add(&e.labels, n)
		is := 0.0
		if value.text == state {
			is = 1
		}
		if !r.emit(from, is) {
			return false
		}
	}
	return true
}
