"""From a float file to an int8 one: ranges, the converter's quantizer, and what mends its file."""
