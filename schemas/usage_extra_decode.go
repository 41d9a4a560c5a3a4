package schemas

// UnmarshalPoints is Unmarshal for whoever wants points alone: what richer sources say beside them, the Extra of the
// sample, its pods and containers, is stepped over, and so is Extra.Pressure.
func (s *UsageSample) UnmarshalPoints(b []byte) error {
	return s.unmarshal(b, richDecoder{onlyPoints: true})
}

// UnmarshalContainers is UnmarshalPoints for whoever wants CPU and memory alone, of the node and of the containers: the
// Extra of points and the pods' own points are stepped over, too.
func (s *UsageSample) UnmarshalContainers(b []byte) error {
	return s.unmarshal(b, richDecoder{onlyPoints: true, onlyContainers: true})
}

// richDecoder is what usageDecoder has for all this: memory taken for many elements at once.
type richDecoder struct {
	onlyPoints     bool
	onlyContainers bool

	pods        []PodExtra
	containers  []ContainerExtra
	pressures   []Pressure
	networks    []Network
	interfaces  []InterfaceUsage
	filesystems []Filesystem
}

// nodeExtra reads the n elements of a sample after its fixed ones.
func (d *usageDecoder) nodeExtra(s *UsageSample, n int) error {
	e := s.Extra
	s.Extra = nil
	if n <= 0 {
		return nil
	}
	if d.rich.onlyPoints {
		return d.skip(n)
	}
	if e == nil {
		e = new(NodeExtra)
	}
	var err error
	if e.Network, err = d.network(e.Network); err != nil {
		return err
	}
	for i, f := range [...]**Filesystem{&e.Rootfs, &e.Images, &e.Containers} {
		if i+1 >= n {
			*f = nil
		} else if *f, err = d.filesystem(*f); err != nil {
			return err
		}
	}
	if !e.empty() {
		s.Extra = e
	}
	return d.skip(n - nodeExtras)
}

// podExtra reads the n elements of a pod after its own point.
func (d *usageDecoder) podExtra(p *PodUsage, n int) error {
	e := p.Extra
	p.Extra = nil
	if d.rich.onlyPoints {
		return d.skip(n)
	}
	if e == nil {
		e = take(&d.rich.pods, d.podsLeft)
	}
	var err error
	if e.Network, err = d.network(e.Network); err != nil {
		return err
	}
	if n > 1 {
		if e.Volumes, err = d.volumes(e.Volumes); err != nil {
			return err
		}
	} else {
		e.Volumes = nil
	}
	if n <= 2 {
		e.Ephemeral = nil
	} else if e.Ephemeral, err = d.filesystem(e.Ephemeral); err != nil {
		return err
	}
	if n <= 3 {
		e.Processes = Optional{}
	} else if e.Processes, err = d.optional(); err != nil {
		return err
	}
	if !e.empty() {
		p.Extra = e
	}
	return d.skip(n - podExtras)
}

// containerExtra reads the n elements of a container after its fixed ones.
func (d *usageDecoder) containerExtra(c *ContainerUsage, n int) error {
	e := c.Extra
	c.Extra = nil
	if d.rich.onlyPoints {
		return d.skip(n)
	}
	if e == nil {
		e = take(&d.rich.containers, d.containersLeft())
	}
	var err error
	if e.Rootfs, err = d.filesystem(e.Rootfs); err != nil {
		return err
	}
	if n <= 1 {
		e.Logs = nil
	} else if e.Logs, err = d.filesystem(e.Logs); err != nil {
		return err
	}
	if !e.empty() {
		c.Extra = e
	}
	return d.skip(n - containerExtras)
}

// pressure reads into the memory of p, where that is not nil.
func (d *usageDecoder) pressure(p *Pressure) (*Pressure, error) {
	if d.r.Nil() {
		return nil, nil
	}
	if d.rich.onlyPoints {
		return nil, d.skip(1)
	}
	n, err := d.array(pressureFields)
	if err != nil {
		return nil, err
	}
	if p == nil {
		p = take(&d.rich.pressures, d.podsLeft+d.containersLeft())
	}
	for _, o := range p.list() {
		if *o, err = d.optional(); err != nil {
			return nil, err
		}
	}
	if err := d.skip(n - pressureFields); err != nil || *p == (Pressure{}) {
		return nil, err
	}
	return p, nil
}

// network reads into the memory of w, where that is not nil.
func (d *usageDecoder) network(w *Network) (*Network, error) {
	if d.r.Nil() {
		return nil, nil
	}
	n, err := d.array(networkFields)
	if err != nil {
		return nil, err
	}
	if w == nil {
		w = take(&d.rich.networks, max(1, d.podsLeft))
	}
	if w.Time, err = d.r.Int(); err != nil {
		return nil, err
	}
	count, err := d.list(minInterfaceBytes)
	if err != nil {
		return nil, err
	}
	if count > cap(w.Interfaces) {
		if count > len(d.rich.interfaces) {
			d.rich.interfaces = make([]InterfaceUsage, max(count, d.podsLeft))
		}
		w.Interfaces, d.rich.interfaces = d.rich.interfaces[:count:count], d.rich.interfaces[count:]
	}
	w.Interfaces = w.Interfaces[:count]
	for i := range w.Interfaces {
		in := &w.Interfaces[i]
		n, err := d.array(interfaceFields)
		if err != nil {
			return nil, err
		}
		if in.Name, err = d.name(in.Name); err != nil {
			return nil, err
		}
		for _, o := range in.list() {
			if *o, err = d.optional(); err != nil {
				return nil, err
			}
		}
		if err := d.skip(n - interfaceFields); err != nil {
			return nil, err
		}
	}
	return w, d.skip(n - networkFields)
}

// volumes reads into the memory of old, where there is enough of it.
func (d *usageDecoder) volumes(old []VolumeUsage) ([]VolumeUsage, error) {
	count, err := d.list(minVolumeBytes)
	if err != nil || count == 0 {
		return nil, err
	}
	if count > cap(old) {
		old = make([]VolumeUsage, count)
	}
	volumes := old[:count]
	for i := range volumes {
		v := &volumes[i]
		n, err := d.array(volumeFields)
		if err != nil {
			return nil, err
		}
		if v.Name, err = d.name(v.Name); err != nil {
			return nil, err
		}
		if v.ClaimNamespace, err = d.name(v.ClaimNamespace); err != nil {
			return nil, err
		}
		if v.Claim, err = d.name(v.Claim); err != nil {
			return nil, err
		}
		if v.Filesystem, err = d.filesystem(v.Filesystem); err != nil {
			return nil, err
		}
		if v.Abnormal, err = d.optional(); err != nil {
			return nil, err
		}
		if err := d.skip(n - volumeFields); err != nil {
			return nil, err
		}
	}
	return volumes, nil
}

// filesystem reads into the memory of f, where that is not nil.
func (d *usageDecoder) filesystem(f *Filesystem) (*Filesystem, error) {
	if d.r.Nil() {
		return nil, nil
	}
	n, err := d.array(filesystemFields)
	if err != nil {
		return nil, err
	}
	if f == nil {
		f = take(&d.rich.filesystems, d.podsLeft+2*d.containersLeft())
	}
	if f.Time, err = d.r.Int(); err != nil {
		return nil, err
	}
	for _, o := range f.list() {
		if *o, err = d.optional(); err != nil {
			return nil, err
		}
	}
	return f, d.skip(n - filesystemFields)
}

// optional reads a number or nil.
func (d *usageDecoder) optional() (Optional, error) {
	if d.r.Nil() {
		return Optional{}, nil
	}
	v, err := d.r.Uint()
	return Optional{Value: v, Valid: err == nil}, err
}
