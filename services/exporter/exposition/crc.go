package exposition

import "hash/crc32"

// The CRC-32 of gzip is a remainder of polynomials over two bits: the CRC of A followed by B is that of A times
// x^(8*len(B)), plus that of B. So the CRC of a concatenation takes one multiplication a part.

// mulCRC multiplies two polynomials modulo the CRC's own. Bit 31 is the coefficient of x^0, as in crc32.IEEE.
func mulCRC(a, b uint32) uint32 {
	var product uint32
	for bit := uint32(1 << 31); bit != 0 && a&(2*bit-1) != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ crc32.IEEE
		} else {
			b >>= 1
		}
	}
	return product
}

// crcShift is x^(8*n): what a CRC is multiplied by when n bytes follow.
func crcShift(n int) uint32 {
	power := uint32(1 << 31)  // x^0
	square := uint32(1 << 23) // x^8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			power = mulCRC(power, square)
		}
		square = mulCRC(square, square)
	}
	return power
}
