/* stdio.h: output to Toro's console. */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Writes to the console: MpiForC.pas. */
void toro_write(const char *text, size_t size);

/* The destination of formatted text: a buffer of `size` bytes, or, if `text` is null, the
 * console by way of `piece`. */
struct output {
    char *text;
    size_t size, count;
    char piece[64];
    size_t pending;
};

/* One conversion: % flags width .precision */
struct conversion {
    bool left, zero, plus, space, alternative;
    int width, precision; /* -1: not given */
};

static void flush(struct output *out)
{
    toro_write(out->piece, out->pending);
    out->pending = 0;
}

static void put(struct output *out, char c)
{
    if (out->text) {
        if (out->count + 1 < out->size)
            out->text[out->count] = c;
    } else {
        if (out->pending == sizeof out->piece)
            flush(out);
        out->piece[out->pending++] = c;
    }
    out->count++;
}

/* Writes `prefix` and `body`, padded to the width. */
static void put_field(struct output *out, const struct conversion *how, const char *prefix, const char *body,
                      size_t size)
{
    int fill = how->width - (int)(strlen(prefix) + size);
    if (!how->left && !how->zero)
        for (; fill > 0; fill--)
            put(out, ' ');
    while (*prefix)
        put(out, *prefix++);
    if (!how->left)
        for (; fill > 0; fill--)
            put(out, '0');
    while (size--)
        put(out, *body++);
    for (; fill > 0; fill--)
        put(out, ' ');
}

static const char *sign(const struct conversion *how, bool negative)
{
    return negative ? "-" : how->plus ? "+" : how->space ? " " : "";
}

static void put_integer(struct output *out, struct conversion *how, const char *prefix, uint64_t value, int base,
                        bool capitals)
{
    char digits[80], *first = digits + sizeof digits;
    int least = how->precision < 0 ? 1 : how->precision > 64 ? 64 : how->precision;
    if (how->precision >= 0)
        how->zero = false;
    for (; value || least > 0; value /= base, least--)
        *--first = (capitals ? "0123456789ABCDEF" : "0123456789abcdef")[value % base];
    put_field(out, how, prefix, first, digits + sizeof digits - first);
}

/* A number, as `count` digits d1 d2 d3 ... with the value d1.d2d3... * 10^exponent. */
struct decimal {
    char digits[48];
    int count, exponent;
};

/* Converts `x` (not negative), rounded to `count` digits in all or, if `after_point`, after the
 * decimal point. Exact from 1/256 to 1e18, elsewhere to about 18 digits. */
static void to_decimal(struct decimal *to, long double x, int count, bool after_point)
{
    uint64_t whole, unit = 1; /* rest of the integer part, and the weight of its next digit */
    to->exponent = 0;
    for (; x >= 1e18L; to->exponent++)
        x /= 10;
    for (; x > 0 && x < 1; to->exponent--)
        x *= 10;
    whole = x;
    x -= whole;
    for (; whole / unit >= 10; to->exponent++)
        unit *= 10;
    if (after_point)
        count += to->exponent + 1;
    to->count = count < 0 ? -1 : count > (int)sizeof to->digits ? (int)sizeof to->digits : count;
    for (int i = 0; i < to->count; i++) {
        to->digits[i] = '0' + whole / unit;
        whole %= unit;
        if (unit > 1)
            unit /= 10;
        else {
            x *= 10;
            whole = x;
            x -= whole;
        }
    }
    x = (whole + x) / unit;
    if (to->count < 0)
        return;
    int last = to->count - 1;
    /* Ties round to even. */
    if (x < 5 || (x == 5 && (last < 0 || to->digits[last] % 2 == 0)))
        return;
    for (; last >= 0 && to->digits[last] == '9'; last--)
        to->digits[last] = '0';
    if (last >= 0) {
        to->digits[last]++;
        return;
    }
    to->exponent++;
    if (after_point && to->count < (int)sizeof to->digits)
        to->digits[to->count++] = '0';
    to->digits[0] = '1';
}

/* The digit with weight 10^power. */
static char digit_at(const struct decimal *from, int power)
{
    int i = from->exponent - power;
    return i >= 0 && i < from->count ? from->digits[i] : '0';
}

static char *write_fixed(char *at, const struct decimal *from, int precision, bool point)
{
    for (int power = from->exponent > 0 ? from->exponent : 0; power >= 0; power--)
        *at++ = digit_at(from, power);
    if (precision > 0 || point)
        *at++ = '.';
    for (int power = -1; power >= -precision; power--)
        *at++ = digit_at(from, power);
    return at;
}

static char *write_exponent(char *at, const struct decimal *from, int precision, bool point)
{
    int exponent = abs(from->exponent);
    *at++ = digit_at(from, from->exponent);
    if (precision > 0 || point)
        *at++ = '.';
    for (int i = 1; i <= precision; i++)
        *at++ = digit_at(from, from->exponent - i);
    *at++ = 'e';
    *at++ = from->exponent < 0 ? '-' : '+';
    if (exponent >= 100)
        *at++ = '0' + exponent / 100;
    *at++ = '0' + exponent / 10 % 10;
    *at++ = '0' + exponent % 10;
    return at;
}

static void put_float(struct output *out, struct conversion *how, double value, char kind)
{
    char body[512], *end = body;
    struct decimal decimal;
    int precision = how->precision < 0 ? 6 : how->precision > 100 ? 100 : how->precision;
    bool negative = __builtin_signbit(value);
    long double x = negative ? -value : value;

    if (__builtin_isnan(value) || __builtin_isinf(value)) {
        how->zero = false;
        put_field(out, how, sign(how, negative), __builtin_isnan(value) ? "nan" : "inf", 3);
        return;
    }
    if (kind == 'g') {
        precision = precision ? precision : 1;
        to_decimal(&decimal, x, precision, false);
        bool fixed = decimal.exponent >= -4 && decimal.exponent < precision;
        if (!how->alternative)
            while (precision > 1 && digit_at(&decimal, decimal.exponent - precision + 1) == '0')
                precision--;
        int places = precision - 1 - (fixed ? decimal.exponent : 0);
        if (fixed)
            end = write_fixed(end, &decimal, places < 0 ? 0 : places, how->alternative);
        else
            end = write_exponent(end, &decimal, places, how->alternative);
    } else if (kind == 'e') {
        to_decimal(&decimal, x, precision + 1, false);
        end = write_exponent(end, &decimal, precision, how->alternative);
    } else {
        to_decimal(&decimal, x, precision, true);
        end = write_fixed(end, &decimal, precision, how->alternative);
    }
    put_field(out, how, sign(how, negative), body, end - body);
}

static const char *parse_number(const char *format, int *number, va_list *arguments)
{
    *number = 0;
    if (*format == '*') {
        *number = va_arg(*arguments, int);
        return format + 1;
    }
    for (; *format >= '0' && *format <= '9'; format++)
        *number = *number * 10 + (*format - '0');
    return format;
}

static const char *parse_flags(const char *format, struct conversion *how)
{
    for (;; format++)
        switch (*format) {
        case '-': how->left = true; break;
        case '0': how->zero = true; break;
        case '+': how->plus = true; break;
        case ' ': how->space = true; break;
        case '#': how->alternative = true; break;
        default: return format;
        }
}

/* Converts one argument. `format` starts after the %; returns what follows the conversion. */
static const char *convert(struct output *out, const char *format, va_list *arguments)
{
    struct conversion how = {.precision = -1};
    int length = 0; /* number of l or z modifiers, or minus the number of h */
    uint64_t value;
    const char *text;
    char c;

    format = parse_number(parse_flags(format, &how), &how.width, arguments);
    if (how.width < 0) {
        how.left = true;
        how.width = -how.width;
    }
    if (*format == '.')
        format = parse_number(format + 1, &how.precision, arguments);
    for (;; format++)
        if (*format == 'l' || *format == 'z')
            length++;
        else if (*format == 'h')
            length--;
        else
            break;
    switch (*format) {
    case 'd':
    case 'i':
        value = length > 0 ? va_arg(*arguments, long) : va_arg(*arguments, int);
        value = length == -1 ? (uint64_t)(short)value : length < -1 ? (uint64_t)(signed char)value : value;
        bool negative = (int64_t)value < 0;
        put_integer(out, &how, sign(&how, negative), negative ? -value : value, 10, false);
        break;
    case 'u':
    case 'x':
    case 'X':
    case 'o':
        value = length > 0 ? va_arg(*arguments, unsigned long) : va_arg(*arguments, unsigned);
        value = length == -1 ? (unsigned short)value : length < -1 ? (unsigned char)value : value;
        text = !how.alternative || !value ? "" : *format == 'x' ? "0x" : *format == 'X' ? "0X" : *format == 'o' ? "0" : "";
        put_integer(out, &how, text, value, *format == 'u' ? 10 : *format == 'o' ? 8 : 16, *format == 'X');
        break;
    case 'p':
        put_integer(out, &how, "0x", (uintptr_t)va_arg(*arguments, void *), 16, false);
        break;
    case 'f':
    case 'e':
    case 'g':
        put_float(out, &how, va_arg(*arguments, double), *format);
        break;
    case 'c':
        c = va_arg(*arguments, int);
        how.zero = false;
        put_field(out, &how, "", &c, 1);
        break;
    case 's':
        text = va_arg(*arguments, const char *);
        text = text ? text : "(null)";
        size_t size = 0;
        while ((how.precision < 0 || size < (size_t)how.precision) && text[size])
            size++;
        how.zero = false;
        put_field(out, &how, "", text, size);
        break;
    case '%':
        put(out, '%');
        break;
    case 0:
        return format;
    }
    return format + 1;
}

static int format_to(struct output *out, const char *format, va_list arguments)
{
    va_list rest;
    va_copy(rest, arguments);
    while (*format)
        if (*format == '%')
            format = convert(out, format + 1, &rest);
        else
            put(out, *format++);
    va_end(rest);
    return out->count;
}

int vprintf(const char *format, va_list arguments)
{
    struct output out = {0};
    int count = format_to(&out, format, arguments);
    flush(&out);
    return count;
}

/* Weak, because programs for earlier versions of Toro define their own. */
__attribute__((weak)) int printf(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int count = vprintf(format, arguments);
    va_end(arguments);
    return count;
}

int vsnprintf(char *text, size_t size, const char *format, va_list arguments)
{
    char none;
    struct output out = {.text = size ? text : &none, .size = size};
    int count = format_to(&out, format, arguments);
    if (size)
        text[(size_t)count < size ? (size_t)count : size - 1] = 0;
    return count;
}

int snprintf(char *text, size_t size, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int count = vsnprintf(text, size, format, arguments);
    va_end(arguments);
    return count;
}

int puts(const char *text)
{
    return printf("%s\n", text);
}

int putchar(int c)
{
    char text = c;
    toro_write(&text, 1);
    return (unsigned char)c;
}
